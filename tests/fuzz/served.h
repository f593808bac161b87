/* A model for the targets that need a server's: made here, tiny, with a token for each byte and a template with tools and reasoning. */
#ifndef TESTS_SERVED_H
#define TESTS_SERVED_H

#include "support/make_model.h"

static const char SERVED_TEMPLATE[] =
    "{%- if tools -%}{{ '<|im_start|>system\n' }}{%- for t in tools -%}{{ t | tojson }}{%- endfor -%}"
    "{{ '\n<tool_call>\n<function=NAME>\n<parameter=KEY>\n<|im_end|>\n' }}{%- endif -%}"
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.reasoning_content -%}{{ '<think>\n' + m.reasoning_content | trim + '\n</think>\n\n' }}{%- endif -%}{{ m.content or '' }}"
    "{%- for c in m.tool_calls or [] -%}{{ '\n<tool_call>\n<function=' + c.function.name + '>\n' }}"
    "{%- for k, v in c.function.arguments | items -%}{{ '<parameter=' + k + '>\n' + v | string + '\n</parameter>\n' }}{%- endfor -%}"
    "{{ '</function>\n</tool_call>' }}{%- endfor -%}{{ '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

static inline const char *served_model(const char *file) {
    MakeModel made = {.seed = 1, .layers = 2, .experts = 4, .top_k = 2, .set = "tokenizer.chat_template", .set_text = SERVED_TEMPLATE};
    return make_model(&made, file);
}

#endif
