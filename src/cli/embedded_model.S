/* The small model that answers when no -m is given: a whole GGUF file as a read-only section of its own, page-aligned, so that
 * the program can read it from its own file on disk. Nothing here is ever touched in memory. */
    .section .sluice_model,"a",%progbits
    .balign 4096
    .globl sluice_embedded_begin
    .hidden sluice_embedded_begin
sluice_embedded_begin:
    .incbin "data/tiny-tales.gguf"
    .globl sluice_embedded_end
    .hidden sluice_embedded_end
sluice_embedded_end:
    .balign 4096
    .section .note.GNU-stack,"",%progbits
