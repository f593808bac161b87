/* Formats, as patterns. Each has only texts that are right; where a format is not regular, or wide, it has the usual ones (uri: with
 * a scheme; email: without quotes and comments), bounded so that they end. */
#include "grammar/pattern.h"

#include <stdio.h>
#include <string.h>

#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}"
#define DATE                                                                                                                       \
    "([0-9]{4}-(((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01]))|((0[469]|11)-(0[1-9]|[12][0-9]|30))|(02-(0[1-9]|1[0-9]|2[0-8])))|"      \
    "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]"
#define TIME CLOCK ":[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]" CLOCK ")"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(\\." BYTE "){3}"
#define H "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                                       \
    "((" H ":){7}" H "|(" H ":){6}" IPV4 "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){2}|(" H ":){1,4}(:" H "){3}|"   \
    "(" H ":){1,3}(:" H "){4}|(" H ":){1,2}(:" H "){5}|" H ":(:" H "){6}|:(:" H "){1,7}|::|::(" H ":){0,5}" IPV4 ")"
#define PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define URI                                                                                                                        \
    "[A-Za-z][A-Za-z0-9+.-]{0,15}:(//([A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+(:[0-9]{1,5})?(/" PCHAR "*)*|" PCHAR "+(/" PCHAR "*)*)"       \
    "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define DAYS "([0-9]{1,6}D|[0-9]{1,6}M([0-9]{1,6}D)?|[0-9]{1,6}Y([0-9]{1,6}M([0-9]{1,6}D)?)?)"
#define HOURS "T([0-9]{1,6}S|[0-9]{1,6}M([0-9]{1,6}S)?|[0-9]{1,6}H([0-9]{1,6}M([0-9]{1,6}S)?)?)"

/* A label whose third and fourth characters are hyphens is a code for other characters (xn--), whose rules are not regular. */
#define CODED "(^|[.@])[^.@]{2}--"

typedef struct Format {
    const char *name, *pattern, *without;
} Format;

static const Format formats[] = {
    {"date", DATE, "^0000"}, /* a year that many readers do not know */
    {"time", TIME, NULL},
    {"date-time", DATE "T" TIME, "^0000"},
    {"duration", "P([0-9]{1,6}W|" DAYS "(" HOURS ")?|" HOURS ")", NULL},
    {"uuid", "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", NULL},
    {"email", ATOM "(\\." ATOM "){0,1}@" LABEL "(\\." LABEL "){0,2}", CODED},
    {"hostname", LABEL "(\\." LABEL "){0,2}", CODED},
    {"ipv4", IPV4, NULL},
    {"ipv6", IPV6, NULL},
    {"uri", URI, NULL},
};

GrammarDfa *grammar_dfa_format(const char *name, bool *known, Err *err) {
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        if (strcmp(name, formats[i].name) != 0) continue;
        char whole[2048];
        int n = snprintf(whole, sizeof whole, "^(%s)$", formats[i].pattern);
        *known = true;
        GrammarDfa *d = grammar_dfa_pattern(whole, (size_t)n, err);
        if (!d || !formats[i].without) return d;
        return grammar_dfa_and(d, grammar_dfa_pattern(formats[i].without, strlen(formats[i].without), err), true, err);
    }
    *known = false;
    return NULL;
}
