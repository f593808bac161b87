/* GPT-2's byte alphabet. Vocabularies are lists of printable strings, so every byte is written as a printable character: those
 * of Latin-1 that are printable stand for themselves, the other 68 bytes follow from U+0100 on in ascending order. */
#include "text/tokenizer_parts.h"

static bool stands_for_itself(unsigned c) { return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF); }

/* The byte of one character of the alphabet, or -1. */
static int byte_of(unsigned code) {
    if (code < 0x100) return stands_for_itself(code) ? (int)code : -1;
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

bool text_alphabet_bytes(Str token, char *out, size_t *n) {
    const unsigned char *s = (const unsigned char *)token.ptr;
    *n = 0;
    for (size_t i = 0; i < token.len; i++) {
        unsigned code = s[i];
        if (code >= 0x80) { /* the alphabet ends at U+0143: never more than two bytes */
            if (code < 0xC2 || code > 0xC5 || i + 1 == token.len || (s[i + 1] & 0xC0) != 0x80) return false;
            code = (code & 0x1F) << 6 | (s[++i] & 0x3F);
        }
        int byte = byte_of(code);
        if (byte < 0) return false;
        out[(*n)++] = (char)byte;
    }
    return true;
}
