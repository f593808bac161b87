/* The files of the web page inside the program: serve_page_NAME and serve_page_NAME_end. */
    .section .rodata
    .macro page name, path
    .global serve_page_\name
    .global serve_page_\name\()_end
serve_page_\name:
    .incbin "\path"
serve_page_\name\()_end:
    .byte 0
    .endm

    page index, "src/serve/page/index.html"
    page style, "src/serve/page/page.css"
    page main, "src/serve/page/main.js"
    page api, "src/serve/page/api.js"
    page talks, "src/serve/page/talks.js"
    page markdown, "src/serve/page/markdown.js"
    page live, "src/serve/page/live.js"

    .section .note.GNU-stack, "", %progbits
