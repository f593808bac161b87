/* UTF-8, character by character, with Unicode's advice on broken input: one U+FFFD per maximal subpart. */
#include "text/tokenizer_parts.h"

#include <string.h>

int text_utf8_char(const char *p, size_t len) {
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4) return -1;
    int n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    unsigned low = 0x80, high = 0xBF; /* of the second byte: no overlong forms, no surrogates, nothing above U+10FFFF */
    if (s[0] == 0xE0) low = 0xA0;
    if (s[0] == 0xED) high = 0x9F;
    if (s[0] == 0xF0) low = 0x90;
    if (s[0] == 0xF4) high = 0x8F;
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= len) return 0;
        if (s[i] < low || s[i] > high) return -i;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

size_t text_utf8_prefix(const char *s, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        if (len - i >= 8) {
            memcpy(&eight, s + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        int n = text_utf8_char(s + i, len - i);
        if (n <= 0) return i;
        i += (size_t)n;
    }
    return i;
}

int32_t text_utf8_code(const char *p, int n) {
    const unsigned char *s = (const unsigned char *)p;
    if (n == 1) return s[0];
    if (n == 2) return (s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    if (n == 3) return (s[0] & 0x0F) << 12 | (s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    return (s[0] & 0x07) << 18 | (s[1] & 0x3F) << 12 | (s[2] & 0x3F) << 6 | (s[3] & 0x3F);
}

size_t text_utf8_put(int32_t code, char out[4]) {
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(lead[n] | code);
    return n;
}
