/* Schemas: valid and invalid values are told apart, what is not supported is refused by name, random texts are valid. */
#include "support/grammar_rig.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts are written as JSON inside C: ' stands for ". Values are separated by spaces outside of strings: one a text. */
typedef struct Case {
    const char *schema;
    const char *valid[12], *invalid[14];
} Case;

static char *quotes(const char *text) {
    char *copy = malloc(strlen(text) + 1);
    memcpy(copy, text, strlen(text) + 1);
    for (char *c = copy; *c; c++)
        if (*c == '\'') *c = '"';
    return copy;
}

static Grammar *build(const char *schema, Err *err) {
    char *text = quotes(schema);
    json_error_t why;
    json_t *json = json_loads(text, JSON_DECODE_ANY, &why);
    if (!json) fail_msg("%s: %s", text, why.text);
    Grammar *g = grammar_json_schema(json, err);
    json_decref(json);
    free(text);
    return g;
}

static const Case cases[] = {
    /* types */
    {"{'type':'string'}", {"'a'", "''", "'\\u0041\\n'"}, {"1", "null", "a", "'", "'a'b"}},
    {"{'type':'integer'}", {"0", "-7", "123456789012345678"}, {"1.5", "01", "'1'", "1e3", "--1", "", "-"}},
    {"{'type':'number'}", {"0", "-7.25", "1e10", "2E-3"}, {"'1'", ".5", "1.", "true"}},
    {"{'type':'boolean'}", {"true", "false"}, {"0", "null", "True"}},
    {"{'type':'null'}", {"null"}, {"0", "false", "''"}},
    {"{'type':['string','null']}", {"null", "'a'"}, {"1", "[]"}},
    {"{'type':'string','nullable':true}", {"null", "'a'"}, {"1"}},
    {"{}", {"1", "'a'", "[1,{'a':null}]", "{}", "true"}, {"", "x"}},
    {"true", {"1", "[]"}, {""}},
    {"{'type':['integer','string'],'minimum':3,'maxLength':2}", {"3", "'ab'", "''"}, {"2", "'abc'", "1"}},
    /* enum, const */
    {"{'enum':['red','green','re\\'d',1,2.5,null,true,'r']}", {"'red'", "'green'", "1", "2.5", "null", "true", "'r'"},
     {"'blue'", "2", "false", "'re'", "'redd'"}},
    {"{'const':{'a':[1,2]}}", {"{'a': [1, 2]}", "{'a':[1,2]}", "{\n 'a': [\n  1,\n  2\n ]\n}"}, {"{'a': [1, 3]}", "{}", "{'a':[1]}"}},
    {"{'enum':[[],{},[{'x':'y','z':null}],7]}", {"[]", "{}", "[{'x':'y','z':null}]", "7"}, {"[{'x':'y'}]", "[{}]", "8"}},
    {"{'type':'string','enum':['a',1,'b']}", {"'a'", "'b'"}, {"1"}},
    {"{'enum':[1,2,3,4,5],'minimum':2,'exclusiveMaximum':5}", {"2", "4"}, {"1", "5"}},
    {"{'enum':['aa','b','cc'],'minLength':2}", {"'aa'", "'cc'"}, {"'b'"}},
    {"{'allOf':[{'enum':[1,2,3]},{'enum':[2,3,4]}]}", {"2", "3"}, {"1", "4"}},
    /* strings */
    {"{'type':'string','minLength':2,'maxLength':3}", {"'ab'", "'abc'", "'\xC3\xA9\xF0\x9F\xA6\x8A'", "'\\n\\u00e9'"}, {"'a'", "'abcd'",
     "''"}},
    {"{'type':'string','minLength':1}", {"'a'", "'abcdef'"}, {"''"}},
    {"{'type':'string','maxLength':0}", {"''"}, {"'a'"}},
    {"{'type':'string','pattern':'^[a-z]+$'}", {"'abc'", "'z'"}, {"''", "'aB'", "'a1'", "'abc\\n'"}},
    {"{'type':'string','pattern':'b'}", {"'b'", "'abc'", "'xyzb\xC3\xA9'"}, {"''", "'aac'"}},
    {"{'type':'string','pattern':'^a|b$'}", {"'axx'", "'xxb'", "'a'"}, {"'xax'", "'bx'"}},
    {"{'type':'string','pattern':'^(\\\\d{3}-)?\\\\d{2,4}$'}", {"'12'", "'123-4567'"}, {"'1'", "'123-45678'", "'12-34'"}},
    {"{'type':'string','pattern':'^[^a-c\\\\s]*$'}", {"''", "'xyz'", "'\xE2\x82\xAC'"}, {"'a'", "'x y'", "'x\\ty'"}},
    {"{'type':'string','pattern':'^\\\\p{Lu}\\\\p{Ll}*$'}", {"'Abc'", "'\xC3\x89t\xC3\xA9'"}, {"'abc'", "'A1'"}},
    {"{'type':'string','pattern':'^[\\u00e0-\\u024f]$'}", {"'\xC3\xA9'", "'\xC9\x8F'", "'\xC3\xA0'"}, {"'e'", "'\xC9\x90'", "'\xC3\x9F'"}},
    {"{'type':'string','pattern':'^.{2}$','maxLength':5}", {"'ab'", "'\\\\\\''"}, {"'a'", "'abc'", "'a\\n'"}},
    {"{'type':'string','pattern':'^a+$','minLength':2,'maxLength':3}", {"'aa'", "'aaa'"}, {"'a'", "'aaaa'", "'ab'"}},
    {"{'type':'string','pattern':'^(?=.*[A-Z])(?=.*\\\\d).{4,6}$'}", {"'aB1x'", "'1111Z'"}, {"'ab1x'", "'aBcd'", "'aB1'", "'aB1defg'"}},
    {"{'type':'string','pattern':'^(?!a|.*[)|]b)[a-z)|]+'}", {"'ba'", "'z)a'", "'b'"}, {"'ab'", "'z)b'", "'z|b'", "''"}},
    {"{'type':'string','pattern':'^(?!^[-+.]*$)[+-]?0*\\\\d*\\\\.?\\\\d*$'}", {"'1'", "'-0.5'", "'+.7'"}, {"'-'", "'.'", "''", "'1.2.3'"}},
    {"{'type':'string','allOf':[{'pattern':'a'},{'pattern':'b'}]}", {"'ab'", "'bxa'"}, {"'a'", "'b'", "''"}},
    /* formats */
    {"{'type':'string','format':'date'}", {"'2024-02-29'", "'1999-12-31'", "'2000-02-29'"},
     {"'2023-02-29'", "'1900-02-29'", "'2024-13-01'", "'2024-04-31'", "'24-01-01'", "'0000-01-01'", "''"}},
    {"{'type':'string','format':'time'}", {"'23:59:59Z'", "'00:00:00.5+01:30'"}, {"'24:00:00Z'", "'12:00:00'", "'12:60:00Z'"}},
    {"{'type':'string','format':'date-time'}", {"'2024-01-01T00:00:00Z'"}, {"'2024-01-01'", "'2024-01-01 00:00:00Z'"}},
    {"{'type':'string','format':'uuid'}", {"'123e4567-e89b-12d3-a456-426614174000'"}, {"'123e4567e89b12d3a456426614174000'", "''"}},
    {"{'type':'string','format':'email'}", {"'a@b.cd'", "'first.last+x@example.com'"}, {"'a@'", "'@b.c'", "'a b@c.d'", "'a..b@c.d'"}},
    {"{'type':'string','format':'hostname'}", {"'a'", "'example.com'", "'a-b.c-d.e1'"},
     {"'-a'", "'a-'", "'xn--a'", "'b.xy--z'", "''", "'a..b'"}},
    {"{'type':'string','format':'ipv4'}", {"'0.0.0.0'", "'255.10.1.99'"}, {"'256.1.1.1'", "'1.2.3'", "'01.2.3.4'"}},
    {"{'type':'string','format':'ipv6'}", {"'::'", "'::1'", "'2001:db8::ff00:42:8329'", "'1:2:3:4:5:6:7:8'", "'::ffff:1.2.3.4'"},
     {"'1:2:3:4:5:6:7'", "':::'", "'1::2::3'", "'12345::'", "'1:2:3:4:5:6:7:8:9'"}},
    {"{'type':'string','format':'uri'}", {"'https://example.com/a?b=c#d'", "'mailto:a@b.c'"}, {"'//x'", "'no uri'", "'http://'"}},
    {"{'type':'string','format':'duration'}", {"'P1D'", "'PT5M'", "'P1Y2M3DT4H5M6S'", "'P2W'"}, {"'P'", "'PT'", "'P1H'", "'1D'"}},
    /* numbers */
    {"{'type':'integer','minimum':-3,'maximum':12}", {"-3", "0", "9", "12", "-1"}, {"-4", "13", "100", "-10", "1.5"}},
    {"{'type':'integer','exclusiveMinimum':0}", {"1", "10", "999999999999999999"}, {"0", "-1", "-0"}},
    {"{'type':'integer','minimum':98,'maximum':1003}", {"98", "99", "100", "999", "1000", "1003"}, {"97", "1004", "2000", "10000", "9"}},
    {"{'type':'integer','maximum':-5}", {"-5", "-6", "-100"}, {"-4", "0", "5"}},
    {"{'type':'integer','minimum':0.5,'maximum':2.5}", {"1", "2"}, {"0", "3"}},
    {"{'type':'number','minimum':0,'maximum':1}", {"0", "1", "0.5", "0.999", "1.000", "0.0"}, {"1.1", "-0.1", "2", "1.0001", "1e0"}},
    {"{'type':'number','exclusiveMinimum':0,'maximum':2.5}", {"0.001", "2.5", "2.49999", "1", "2.50"}, {"0", "0.0", "2.51", "3", "-1"}},
    {"{'type':'number','minimum':-1.5,'exclusiveMaximum':-0.25}", {"-1.5", "-0.26", "-1", "-0.3"}, {"-0.25", "-1.51", "0", "-0.2"}},
    {"{'type':'number','exclusiveMaximum':0}", {"-0.5", "-12", "-0.01"}, {"0", "0.5", "-0", "-0.0"}},
    {"{'allOf':[{'type':'integer','minimum':2},{'minimum':1,'maximum':5},{'maximum':4}]}", {"2", "4"}, {"1", "5"}},
    {"{'type':'number','multipleOf':1}", {"3"}, {"3.5"}},
    {"{'type':'integer','multipleOf':7}", {"0", "7", "-14", "700007", "1001"}, {"1", "8", "-13", "71", "00"}},
    {"{'multipleOf':5,'minimum':3,'maximum':20,'allOf':[{'multipleOf':2.0}],'type':'number'}", {"10", "20"}, {"5", "0", "15", "30"}},
    {"{'type':'integer','minimum':5,'exclusiveMinimum':true}", {"6"}, {"5"}},
    /* objects */
    {"{'type':'object','properties':{'a':{'type':'integer'},'b':{'type':'string'}},'required':['a'],'additionalProperties':false}",
     {"{'a':1}", "{'a': 1, 'b': 'x'}", "{\n  'a': 1,\n  'b': ''\n}"},
     {"{}", "{'b':'x'}", "{'a':'x'}", "{'a':1,'c':2}", "{'a':1,'b':2}", "{'a':1,'a':2}", "{'a':1,}", "{'b':'x','a':1}"}},
    {"{'type':'object','properties':{'a':{},'ab':{},'abc':{'type':'null'}},'additionalProperties':false}",
     {"{}", "{'a':1}", "{'ab':1}", "{'abc':null}", "{'a':1,'abc':null}"}, {"{'abcd':1}", "{'abc':1}", "{'':1}"}},
    {"{'type':'object','properties':{'a':{'type':'null'}},'additionalProperties':{'type':'integer'}}",
     {"{}", "{'a':null}", "{'a':null,'b':1,'c':2}", "{'ab':1}", "{'':1}", "{'x\\'y\\n':1}"}, {"{'a':1}", "{'b':null}", "{'b':1,'a':null}"}},
    {"{'type':'object','required':['x','y']}", {"{'x':1,'y':2}", "{'x':1,'y':2,'z':3}"}, {"{}", "{'x':1}", "{'y':1}"}},
    {"{'type':'object','properties':{'a':{}},'required':['b'],'additionalProperties':{'type':'integer'}}", {"{'a':'x','b':1}",
     "{'b':1,'c':2}"},
     {"{'a':1}", "{'b':'x'}"}},
    {"{'type':'object','minProperties':1,'properties':{'a':{},'b':{}},'additionalProperties':false}", {"{'a':1}", "{'b':1}"}, {"{}"}},
    {"{'type':'object','patternProperties':{'^x':{'type':'integer'},'y$':{'type':'number','minimum':2}},'additionalProperties':false}",
     {"{}", "{'x':1}", "{'y':2.5}", "{'xy':3}"}, {"{'x':1.5}", "{'y':1}", "{'xy':2.5}", "{'xy':1}", "{'z':1}"}},
    {"{'type':'object','properties':{'xa':{'minimum':5}},'patternProperties':{'^x':{'type':'integer'}}}", {"{'xa':5}", "{'xb':1,'c':'d'}"},
     {"{'xa':4}", "{'xa':'a'}", "{'xb':'a'}"}},
    {"{'type':'object','propertyNames':{'pattern':'^[a-z]$'},'additionalProperties':{'type':'null'}}", {"{}", "{'a':null,'b':null}"},
     {"{'A':null}", "{'ab':null}", "{'':null}"}},
    {"{'type':'object','propertyNames':{'enum':['a','bc'],'minLength':2}}", {"{}", "{'bc':1}"}, {"{'a':1}", "{'b':1}", "{'bcd':1}"}},
    {"{'type':'object','properties':{'a':false,'b':true}}", {"{}", "{'b':1}"}, {"{'a':1}"}},
    {"{'properties':{'a':{'type':'integer'}}}", {"1", "[]", "{'a':1}"}, {"{'a':'x'}"}},
    /* arrays */
    {"{'type':'array','items':{'type':'integer'}}", {"[]", "[1]", "[1, 2,3]", "[\n  1,\n  2\n]"}, {"['a']", "[1,]", "[,1]", "{}"}},
    {"{'type':'array','items':{'type':'boolean'},'minItems':2,'maxItems':3}", {"[true,false]", "[true,true,true]"},
     {"[]", "[true]", "[true,true,true,true]"}},
    {"{'type':'array','prefixItems':[{'type':'string'},{'type':'integer'}],'items':{'type':'null'}}",
     {"[]", "['a']", "['a',1]", "['a',1,null,null]"}, {"[1]", "['a','b']", "['a',1,2]"}},
    {"{'type':'array','prefixItems':[{'type':'string'},{'type':'integer'}],'items':false,'minItems':2}", {"['a',1]"}, {"['a']",
     "['a',1,1]"}},
    {"{'type':'array','items':[{'type':'string'}],'additionalItems':{'type':'null'},'maxItems':2}", {"['a',null]", "['a']"},
     {"['a',1]", "['a',null,null]"}},
    {"{'type':'array','maxItems':0}", {"[]"}, {"[1]"}},
    {"{'type':'array','minItems':1}", {"[1]", "['a',{}]"}, {"[]"}},
    {"{'type':'array','items':false}", {"[]"}, {"[1]"}},
    /* together */
    {"{'anyOf':[{'type':'integer','minimum':10},{'type':'string'},{'const':3}]}", {"10", "'x'", "3"}, {"4", "null"}},
    {"{'type':'object','anyOf':[{'required':['a']},{'required':['b']}],'properties':{'a':{'type':'integer'},'b':{'type':'integer'}}}",
     {"{'a':1}", "{'b':1}", "{'a':1,'b':2}"}, {"{}", "{'a':'x'}", "{'c':1}"}},
    {"{'oneOf':[{'type':'integer','maximum':3},{'type':'integer','minimum':5},{'type':'string'}]}", {"3", "5", "'a'"}, {"4", "null"}},
    {"{'oneOf':[{'type':'object','properties':{'k':{'const':'a'},'v':{'type':'integer'}},'required':['k','v'],"
     "'additionalProperties':false},"
     "{'type':'object','properties':{'k':{'const':'b'}},'required':['k'],'additionalProperties':false}]}",
     {"{'k':'a','v':1}", "{'k':'b'}"}, {"{'k':'a'}", "{'k':'b','v':1}", "{'k':'c'}"}},
    {"{'allOf':[{'type':'object','properties':{'a':{'type':'integer'}},'required':['a']},{'properties':{'a':{'minimum':2},"
     "'b':{'type':'null'}}}]}",
     {"{'a':2}", "{'a':2,'b':null}"}, {"{'a':1}", "{'b':null}", "{'a':2,'b':1}"}},
    {"{'allOf':[{'properties':{'a':{}},'additionalProperties':false},{'properties':{'b':{}}}],'type':'object'}", {"{}", "{'a':1}"},
     {"{'b':1}"}},
    /* references */
    {"{'$ref':'#/$defs/n','$defs':{'n':{'type':'object','properties':{'v':{'type':'integer'},'next':{'$ref':'#/$defs/n'}},"
     "'required':['v'],'additionalProperties':false}}}", {"{'v':1}", "{'v':1,'next':{'v':2,'next':{'v':3}}}"},
     {"{}", "{'v':1,'next':{}}", "{'v':1,'next':null}"}},
    {"{'type':'array','items':{'anyOf':[{'type':'integer'},{'$ref':'#'}]}}", {"[]", "[1,[2,[3,[]]]]"}, {"['a']", "[[[{}]]]", "1"}},
    {"{'definitions':{'a/b':{'type':'integer'},'c%d~':{'type':'null'}},'properties':{'x':{'$ref':'#/definitions/a~1b'},"
     "'y':{'$ref':'#/definitions/c%25d~0'}},'type':'object'}", {"{'x':1,'y':null}"}, {"{'x':'a'}", "{'y':1}"}},
    {"{'$defs':{'p':{'$anchor':'pos','type':'integer','minimum':1}},'$ref':'#pos','maximum':3}", {"1", "3"}, {"0", "4", "'a'"}},
};

static void valid_and_invalid_values_are_told_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Err err = {0};
        Grammar *g = build(cases[i].schema, &err);
        if (!g) fail_msg("%s: %s", cases[i].schema, err.text);
        for (size_t k = 0; k < COUNT_OF(cases[i].valid) && cases[i].valid[k]; k++) {
            char *text = quotes(cases[i].valid[k]);
            if (!grammar_takes(g, text, strlen(text))) fail_msg("%s: not taken: %s", cases[i].schema, text);
            free(text);
        }
        for (size_t k = 0; k < COUNT_OF(cases[i].invalid) && cases[i].invalid[k]; k++) {
            char *text = quotes(cases[i].invalid[k]);
            if (grammar_takes(g, text, strlen(text))) fail_msg("%s: taken: %s", cases[i].schema, text);
            free(text);
        }
        grammar_free(g);
    }
}

static void what_is_not_supported_is_refused_by_name_and_place(void **state) {
    (void)state;
    static const struct { const char *schema, *said; } refused[] = {
        {"{'not':{'type':'integer'}}", "#/not: \"not\" is not supported"},
        {"{'properties':{'a/b':{'items':{'if':{}}}}}", "#/properties/a~1b/items/if: \"if\""},
        {"{'type':'array','uniqueItems':true}", "#/uniqueItems"},
        {"{'type':'array','contains':{}}", "#/contains"},
        {"{'type':'number','multipleOf':0.5}", "#/multipleOf: \"multipleOf\" is supported for whole numbers"},
        {"{'type':'integer','multipleOf':1001}", "#/multipleOf"},
        {"{'type':'integer','multipleOf':0}", "#/multipleOf"},
        {"{'type':'integer','multipleOf':500,'allOf':[{'multipleOf':3}]}", "#/allOf/0/multipleOf"},
        {"{'type':'integer','multipleOf':7,'minimum':8,'maximum':13}", "nothing satisfies"},
        {"{'type':'object','dependentRequired':{}}", "#/dependentRequired"},
        {"{'type':'object','unevaluatedProperties':false}", "#/unevaluatedProperties"},
        {"{'type':'object','minProperties':2}", "#/minProperties"},
        {"{'type':'object','maxProperties':2}", "#/maxProperties"},
        {"{'type':'string','format':'idn-email'}", "#/format: \"idn-email\" is not supported; choose date"},
        {"{'type':'string','pattern':'(?=a)b'}", "#/pattern: looking ahead"},
        {"{'type':'string','pattern':'^(?=a)b|c'}", "#/pattern: looking ahead"},
        {"{'type':'string','pattern':'^(?=(?=a))b'}", "#/pattern: looking ahead"},
        {"{'type':'string','pattern':'^(?=a'}", "#/pattern: looking ahead"},
        {"{'type':'string','pattern':'^(?=a)*b'}", "#/pattern: a repetition"},
        {"{'type':'string','pattern':'(?i)a'}", "#/pattern: flags"},
        {"{'type':'string','pattern':'(a)\\\\1'}", "#/pattern: references back"},
        {"{'type':'string','pattern':'a\\\\b'}", "#/pattern: word borders"},
        {"{'type':'string','pattern':'(a'}", "#/pattern: ( without )"},
        {"{'type':'string','pattern':'(a|b)*a(a|b){20}'}", "#/pattern: it needs an automaton of too many states"},
        {"{'$ref':'other.json'}", "#/$ref: \"other.json\" is not in this document"},
        {"{'$ref':'#/$defs/a'}", "#/$ref: \"#/$defs/a\" leads to nothing"},
        {"{'type':'text'}", "#/type: must be null"},
        {"{'items':3}", "#/items: a schema must be"},
        {"{'oneOf':[{'type':'integer'},{'minimum':3}]}", "#/oneOf: a value could satisfy branches 0 and 1"},
        {"{'enum':[{'a':1}],'required':['a']}", "#/required: beside an enum"},
        {"{'type':'integer','minimum':5,'maximum':4}", "nothing satisfies"},
        {"{'type':'object','properties':{'a':false},'required':['a']}", "nothing satisfies"},
        {"false", "nothing satisfies"},
        {"{'$ref':'#'}", ""}, /* anything: it says nothing about any value */
        {"{'type':'object','properties':{'a':{'$ref':'#'}},'required':['a']}", "nothing satisfies"},
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        Err err = {0};
        uint64_t live = mem_live_count();
        Grammar *g = build(refused[i].schema, &err);
        if (*refused[i].said && (g || !strstr(err.text, refused[i].said))) fail_msg("%s: %s", refused[i].schema, g ? "built" : err.text);
        if (!*refused[i].said && !g) fail_msg("%s: %s", refused[i].schema, err.text);
        grammar_free(g);
        assert_int_equal(mem_live_count(), live);
    }
}

static void notes_and_unknown_words_change_nothing(void **state) {
    (void)state;
    Err err = {0};
    Grammar *g = build("{'$schema':'x','$id':'y','title':'t','description':'d','default':3,'examples':[1],'x-own':{},'type':'integer',"
                       "'deprecated':true,'minLength':5,'items':{},'uniqueItems':false}", &err);
    if (!g) fail_msg("%s", err.text);
    assert_true(grammar_takes(g, "12", 2));
    assert_false(grammar_takes(g, "\"a\"", 3));
    grammar_free(g);
}

/* Schemas whose random texts are looked at, with a text along which the masks are compared. */
static const char *const walked[][2] = {
    {"{'type':'object','properties':{'name':{'type':'string','maxLength':20},'age':{'type':'integer','minimum':0,'maximum':150},"
     "'tags':{'type':'array','items':{'enum':['red','green','blue']},'minItems':1,'maxItems':4},'when':{'type':'string',"
     "'format':'date-time'}},"
     "'required':['name','age','tags'],'additionalProperties':false}",
     "{'name': 'the little fox', 'age': 12, 'tags': ['red', 'blue'], 'when': '2024-02-29T10:00:00Z'}"},
    {"{'$ref':'#/$defs/n','$defs':{'n':{'type':'object','properties':{'v':{'type':'number','minimum':-1,'maximum':1},"
     "'l':{'$ref':'#/$defs/n'},"
     "'r':{'anyOf':[{'$ref':'#/$defs/n'},{'type':'null'}]}},'required':['v','r'],'additionalProperties':false}}}",
     "{'v': 0.5, 'l': {'v': -1, 'r': null}, 'r': {'v': 1, 'r': null}}"},
    {"{'type':'object','properties':{'a':{'type':'string','pattern':'^[A-Z][a-z]{1,8}( [a-z]+)*$'}},'patternProperties':{'_id$':"
     "{'type':'integer'}},'additionalProperties':{'type':'string','minLength':3}}",
     "{'a': 'Once upon a time', 'x_id': 12, 'other': 'abc', '\\\\n': 'd\xC3\xA9g'}"},
    {"{'type':'array','items':{'type':'string','minLength':300,'maxLength':600},'minItems':2,'maxItems':400}", NULL},
    {"{'anyOf':[{'type':'object','properties':{'k':{'const':'circle'},'r':{'type':'number','exclusiveMinimum':0}},'required':['k','r']},"
     "{'type':'object','properties':{'k':{'const':'square'},'side':{'type':'integer'}},'required':['k','side']}]}",
     "{'k': 'circle', 'r': 1.5, 'more': [{}]}"},
};

static void masks_of_schemas_are_what_trying_every_token_gives(void **state) {
    GrammarRig *rig = *state;
    for (size_t i = 0; i < COUNT_OF(walked); i++) {
        if (!walked[i][1]) continue;
        Grammar *g = build(walked[i][0], NULL);
        GrammarMasks *m = grammar_masks_new(g, rig->vocab, &rig->stop, 1, NULL);
        char *text = quotes(walked[i][1]);
        grammar_expect_masks_along(rig, g, m, text, 3);
        free(text);
        grammar_masks_free(m);
        grammar_free(g);
    }
}

/* Counters near to and far from their bounds: the mask that is remembered for the middle must be right at the edge. */
static void masks_are_right_near_the_bounds_of_counters(void **state) {
    GrammarRig *rig = *state;
    Grammar *g = build(walked[3][0], NULL);
    GrammarMasks *m = grammar_masks_new(g, rig->vocab, &rig->stop, 1, NULL);
    Buf text = {0};
    buf_puts(&text, "[\"");
    GrammarState *s = grammar_state_new(g, NULL);
    assert_true(grammar_accept(s, text.ptr, text.len));
    for (int i = 0; i < 600; i++) {
        bool near = i < 3 || (i > 270 && i < 302) || i > 575;
        if (near ? i % 4 == 0 || i > 592 || (i > 296 && i < 302) : i % 100 == 0) grammar_expect_mask(rig, g, m, s);
        assert_true(grammar_accept(s, "a", 1));
    }
    assert_false(grammar_accept(s, "a", 1));
    grammar_expect_mask(rig, g, m, s);
    assert_int_equal(grammar_shortest_end(s), 1 + 1 + 302 + 1); /* quote, comma, another string, bracket */
    grammar_state_free(s);
    buf_free(&text);
    grammar_masks_free(m);
    grammar_free(g);
}

static void random_texts_are_taken_and_are_json(void **state) {
    GrammarRig *rig = *state;
    Buf text = {0};
    for (size_t i = 0; i < COUNT_OF(walked); i++) {
        Grammar *g = build(walked[i][0], NULL);
        GrammarMasks *m = grammar_masks_new(g, rig->vocab, &rig->stop, 1, NULL);
        for (uint64_t seed = 0; seed < 12; seed++) {
            json_error_t why;
            grammar_random_text(rig, g, m, seed, 40, &text);
            json_t *json = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, &why);
            if (!json) fail_msg("%s: %.*s", why.text, (int)text.len, text.ptr);
            json_decref(json);
            assert_true(grammar_takes(g, text.ptr, text.len));
        }
        grammar_masks_free(m);
        grammar_free(g);
    }
    buf_free(&text);
}

static void a_schema_that_runs_out_of_memory_is_an_error_and_leaks_nothing(void **state) {
    (void)state;
    uint64_t live = mem_live_count();
    int failures = 0;
    for (uint64_t n = 1; n < 400; n++) {
        Err err = {0};
        char *text = quotes(walked[2][0]);
        json_t *json = json_loads(text, 0, NULL);
        mem_fail_after(n);
        Grammar *g = grammar_json_schema(json, &err);
        mem_fail_after(0);
        if (!g && !*err.text) fail_msg("allocation %d failed without a sentence", (int)n);
        failures += !g;
        grammar_free(g);
        json_decref(json);
        free(text);
        assert_int_equal(mem_live_count(), live);
    }
    assert_true(failures > 20);
}

static int close_rig(void **state) {
    grammar_rig_free(*state);
    return 0;
}

static int open_rig(void **state) {
    *state = grammar_rig_new();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_and_invalid_values_are_told_apart),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name_and_place),
        cmocka_unit_test(notes_and_unknown_words_change_nothing),
        cmocka_unit_test_setup_teardown(masks_of_schemas_are_what_trying_every_token_gives, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(masks_are_right_near_the_bounds_of_counters, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(random_texts_are_taken_and_are_json, open_rig, close_rig),
        cmocka_unit_test(a_schema_that_runs_out_of_memory_is_an_error_and_leaks_nothing),
    };
    return RUN_TESTS(tests);
}
