"""Writes template_cases.jsonl: small templates and what Jinja makes of them, the reference for tests/unit/test_template.c.

    python3 -m venv v && v/bin/pip install jinja2==3.1.6 && v/bin/python tests/data/template_cases.py

The environment is the one transformers renders chat templates in. The first line of the output holds the variables, every other line
a template with "expected", or "fails" where Jinja refuses it.
"""
import datetime
import json
import pathlib

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("content"), [], [], body).set_lineno(line)

    def content(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
ENV.filters["tojson"] = tojson
ENV.globals["raise_exception"] = raise_exception
ENV.globals["strftime_now"] = lambda f: datetime.datetime(2026, 1, 15, 12, 34, 56).strftime(f)

VARS = {"a":1,"b":2.5,"s":"Hello wörld","e":"","n":None,"t":True,"f":False,"l":[3,1,2],"d":{"x":1,"y":{"z":[1,2,{"k":"v"}]}},
"big":12345678901234567890,"neg":-7,"ml":"  line1\n\tline2  \n\n line3 ","u":"\u00a0東京 😀 é\u0085","q":"it's \"q\" <b>&\\","words":["b","A","c","a"],
"users":[{"name":"Bob","age":30,"tags":["x"]},{"name":"alice","age":25},{"name":"Carl","age":30,"tags":[]}],"fl":[0.1,100.0,1e-7,1e22,1.5e300,-0.0,123456789.123,1e16,1e15,0.0001,0.00001,2.0],
"messages":[{"role":"system","content":" sys "},{"role":"user","content":"hi"},{"role":"assistant","content":None,"tool_calls":[{"function":{"name":"f","arguments":{"a":1,"b":[1,{"c":None}]}}}]},{"role":"tool","content":"r"}]}

# Printed as {{ ... }}, one a line.
EXPRESSIONS = r'''
a + 1
a - b
7 // 2
-7 // 2
7 % -3
-7 % 3
7.5 // 2
-7.5 % 2
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
1 + 2 * 3 - 4 / 2
"a" ~ 1 ~ 2.0 ~ none ~ true ~ undefinedvar ~ [1,'x']
"a" + "b" ~ "c" + "d"
s + 1
1 + s
l + [4]
l + "x"
(1,2) + (3,)
(1,) 
()
[1,'a',None,True,1.0,'it\'s',"q\"", 'both \' "']
{'a':1,'b':[1,2],3:'x',None:1}
{1:'a',1.0:'b',true:'c'}
"x" * 3
3 * [1,2]
"ab" * -1
s * 1.5
s - 1
not a
not e
not not l
a and b
a or undefinedthing
e or 'def'
n or e or l
a == 1
a == 1.0
a == "1"
true == 1
a != 2
1 < 2 < 3
1 < 3 < 2
1 < 2 > 1 != 4
"a" < "b"
"a" < 1
[1,2] < [1,3]
[1,2] < [1,2,0]
none < 1
undefinedv < 1
undefinedv == undefinedw
undefinedv == none
none == none
big > 9223372036854775807
big == 12345678901234567890
big
-big
[big]
{'b': big}|tojson
"a" in s
"Hello" in s
"z" not in s
1 in l
9 in l
"x" in d
"y" not in d
1 in s
a in 5
1 in n
'a' in undefinedv
undefinedv in l
[1] in [[1],[2]]
1.0 in l
a if t else b
a if f else b
a if f
(a if f) is defined
(a if f).x
s.upper()
s.lower()
s.title()
s.capitalize()
s|title
"foo-bar (baz) [qux] x's y"|title
"foo-bar x's"|capitalize
"they're bill's".title()
s|upper|lower
ml.strip()
ml|trim
ml|trim(' ')
ml.lstrip()
ml.rstrip()
"xxabcxx".strip('x')
"xxabcyy".strip('xy')
"xxabcxx".lstrip('x')
"xxabcxx".rstrip('x')
"é東é".strip('é')
u.strip()
u|trim|length
u|length
u[0]
u[1]
u[-1]
u[1:3]
u[::-1]
u[::2]
s[1:3]
s[:-1]
s[-3:]
s[10:2]
s[100]
s[-100]
l[0]
l[-1]
l[5]
l[5].x
l['a']
l.x
l[::-1]
l[1:]
l[:1]
l[-2:]
l[0:3:2]
l[::0]
l[5:]
l[-100:100]
l[2:0:-1]
messages[::-1][0].role
messages[1:]|length
(1,2,3)[1:]
range(10)[2:5]|list
range(10)[3]
range(3)
range(3)|list
range(2,10,3)|list
range(10,0,-3)|list
range(0)|list
range(5,0)|list
range(1000000)
range(1,2,0)
range('a')
d.x
d['x']
d.y.z[2].k
d.missing
d.missing.x
d['missing']['x']
d.get('x')
d.get('q')
d.get('q', 5)
d.items()|list
d.keys()|list
d.values()|list
d|items|list
d|length
d|list
d
d|dictsort
{'b':1,'A':2,'c':0}|dictsort
{'b':1,'A':2,'c':0}|dictsort(true)
{'b':1,'A':2,'c':0}|dictsort(by='value')
{'b':1,'A':2,'c':0}|dictsort(false,'value',true)
{'b':1,'A':2,'c':0}|dictsort(reverse=true)
n
n.x
n['x']
a.x
a.x.y
a[0]
undefinedv
undefinedv.x
undefinedv['x']
undefinedv()
undefinedv + 1
undefinedv ~ 'x'
-undefinedv
undefinedv|length
undefinedv|trim
undefinedv|upper
undefinedv|tojson
undefinedv|list
undefinedv|first
undefinedv|join
undefinedv|default('D')
undefinedv|d
undefinedv|default
undefinedv is defined
undefinedv is undefined
undefinedv is none
undefinedv is string
undefinedv is iterable
undefinedv is sequence
undefinedv is mapping
undefinedv is callable
undefinedv is number
d.missing is defined
d.x is defined
e|default('D')
e|default('D', true)
n|default('D')
n|default('D', boolean=true)
f|default('D', true)
s|length
l|length
5|length
n|length
l|count
l|first
l|last
[]|first
[]|last
[]|first is defined
s|first
s|last
d|first
l|join
l|join(',')
l|join('|', attribute='x')
users|join(', ', attribute='name')
users|map(attribute='name')|join(',')
users|map(attribute='tags')|list
users|map(attribute='tags', default='none')|list
users|map(attribute='missing.x')|list
users|map('length')|list
words|map('upper')|list
words|map('upper')|length
words|map('replace','a','Z')|join
words|map('nofilter')|list
users|selectattr('tags')|map(attribute='name')|list
users|selectattr('tags','defined')|map(attribute='name')|list
users|selectattr('age','equalto',30)|map(attribute='name')|list
users|selectattr('age','==',30)|list|length
users|selectattr('age','gt',26)|list|length
users|rejectattr('age','eq',30)|map(attribute='name')|join
users|rejectattr('tags')|list|length
l|select('odd')|list
l|reject('odd')|list
l|select|list
[0,1,'',2,none]|select|list
[1,2,3,4]|select('divisibleby',2)|list
[1,2,3,4]|select('in',[1,4])|list
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true)
users|sort(attribute='name')|map(attribute='name')|list
users|sort(attribute='age,name')|map(attribute='name')|list
users|sort(attribute='age')|map(attribute='name')|list
users|sort(attribute='age',reverse=true)|map(attribute='name')|list
[1,'a']|sort
[none,none]|sort
[[2,1],[1,2]]|sort
words|unique|list
['a','A','b']|unique|list
['a','A','b']|unique(true)|list
[1,1.0,true,2]|unique|list
l|min
l|max
words|min
words|max
[]|min
[]|max is defined
users|max(attribute='age')
l|sum
fl|sum
users|sum(attribute='age')
users|sum(attribute='age', start=10)
[[1],[2]]|sum(start=[])
['a']|sum
l|reverse|list
s|reverse
d|reverse|list
words|batch(3)|list
words|batch(3,'x')|list
words|batch(2)|list
3.7|int
"42"|int
"42.9"|int
"x"|int
"x"|int(7)
"0x1A"|int(0,16)
"0x1A"|int(base=16)
"1A"|int(0,16)
"101"|int(0,2)
" 12 "|int
"1_000"|int
"12345678901234567890123"|int
"-5"|int
"+5"|int
"1e3"|int
1e30|int
n|int
[]|int
true|int
"3.5"|float
"x"|float
"x"|float(1.5)
"inf"|float
"nan"|float
"1_0.5"|float
7|float
n|float
true|float
2.5|round
3.5|round
2.675|round(2)
1234.5678|round(2)
1234.5678|round(-2)
42.55|round(1,'floor')
42.55|round(1,'ceil')
42.1|round(0,'ceil')
5|round
5|round(2)
"x"|round
-3|abs
-3.5|abs
"x"|abs
fl
fl|join(' ')
fl|tojson
b
1.0
1e5
1.5e3
1_000
1_0.2_5
0x1f
0b101
0o17
0x_ff
00
1e100
1.
.5
'a' 'b' "c"
'\n\t\\\'\"\x41\u00e9\U0001F600\101\q'
"\é"
"\東"
"line\
cont"
"\a\b\f\v"|tojson
q
q|tojson
[q]
{'q':q}
u|tojson
u|tojson(ensure_ascii=true)
[u]
["\x00\x1f\x7f\xa0\xad\u200b\u2028"]
"\x00\x1f\x7f\xa0\u2028"|tojson
d|tojson
d|tojson(indent=2)
d|tojson(indent='--')
[]|tojson(indent=2)
{}|tojson(indent=2)
[[],{}]|tojson(indent=2)
d|tojson(separators=(',',':'))
d|tojson(separators=[',',':'], indent=1)
{'b':1,'a':2}|tojson(sort_keys=true)
{1:2,none:3,true:4,1.5:6}|tojson
{(1,2):3}|tojson
{(1,2):3}
(1,2)|tojson
range(3)|tojson
n|tojson
s|tojson(foo=1)
d|tojson(indent=0)
q|e
q|escape
q|safe
q|safe + '<x>'
'<x>' + q|safe
q|safe ~ '<x>'
('<x>'|e)|e
('<x>'|e)|forceescape
q|e|upper
(q|e + '<y>')|length
[q|safe]
q|safe|tojson
q|string
a|string + 'x'
none|string
l|string
ml|indent
ml|indent(2)
ml|indent(2, true)
ml|indent(2, true, true)
ml|indent(2, blank=true)
ml|indent('>>')
ml|indent(first=true)
""|indent(2,true)
"a\n\nb\n"|indent(3)
"a\n\nb\n"|indent(3,true)
"\n"|indent(3,true)
"a\r\nb\x0bc\u2028d"|indent(1)
1|indent
s|replace('l','L')
s|replace('l','L',1)
s|replace('l','L',count=2)
s|replace('','-')
s.replace('l','L')
s.replace('','-')
s.replace('o','0',1)
123|replace(2,'x')
s|replace('zz','')
s.split()
s.split('l')
s.split('l',1)
s.split('l',maxsplit=1)
s.split('')
ml.split()
ml.split(None,1)
"a,b,,c".split(',')
"a,b,,c".rsplit(',',1)
"a,b,,c".rsplit(',')
"".split()
"".split(',')
"  ".split()
ml.splitlines()
ml.splitlines(true)
"a\r\nb\rc".splitlines()
"a=b=c".partition('=')
"a=b=c".rpartition('=')
"abc".partition('=')
"abc".rpartition('=')
s.startswith('Hello')
s.startswith(('x','He'))
s.startswith(['x'])
s.startswith(1)
s.startswith('')
s.endswith('ld')
s.endswith('')
s.find('l')
s.find('zz')
s.find('ö')
s.find('d')
s.rfind('l')
s.index('w')
s.index('zz')
s.count('l')
s.count('')
u.count('')
"aaa".count('aa')
"-".join(['a','b'])
"-".join([1])
"-".join(words)
"".join(d)
"{} and {}".format(1,'x')
"{0}{1}{0}".format('a','b')
"{x}".format(x=5)
"{{}}{}".format(1)
"%s is %d" % ('a', 5)
"%s" % 'x'
"%s %s" % 'x'
"%d" % 'x'
"%.2f" % 3.14159
"%d%%" % 5
"%s" % (1,)
"%s" % [1,2]
"a"|format
"%s-%s"|format(1,2)
"abc".removeprefix('a')
"abc".removesuffix('bc')
"5".zfill(3)
"-5".zfill(4)
"a".ljust(3) ~ '|'
"a".rjust(3,'*')
"abc".center(8) ~ '|'
"abc"|center(9) ~ '|'
"ab"|center(5) ~ '|'
"12".isdigit()
"1a".isdigit()
"ab".isalpha()
"a1".isalnum()
" ".isspace()
"ab".islower()
"AB".isupper()
"A1".isupper()
"1".isupper()
s.nomethod()
s.nomethod
s['upper']()
a is number
b is float
a is integer
t is integer
t is boolean
t is number
b is integer
n is none
n is not none
s is string
a is string
l is iterable
a is iterable
s is iterable
d is mapping
l is mapping
l is sequence
d is sequence
s is sequence
a is sequence
range(3) is sequence
d.items() is sequence
d.items() is iterable
t is true
f is false
a is true
1 is true
a is odd
a is even
b is odd
6 is divisibleby 3
6 is divisibleby(4)
'a' is odd
a is eq 1
a is equalto 1
a is ne(2)
a is lt 3
a is ge 1
a is in [1,2]
a is in l
a is not in [2]
s is in ['x']
"abc" is lower
"ABC" is upper
"aBc" is lower
"" is lower
range is callable
'upper' is filter
'nope' is filter
'odd' is test
a is sameas 1
n is sameas none
a is defined and b is defined
a is defined or x
not a is defined
a is defined if t else 'no'
not (a == 1)
(1 if false) | default('z')
[1,2][0]
{'a':{'b':1}}.a.b
{'a':1}['a']
{'items':5}['items']
d.pop
d.pop('x')
d.update({'q':1})
d.clear is defined
d.__class__
s.__class__.__mro__
d['__class__']
l.sort()
l.index(1)
l.index(99)
l.count(1)
dict(a=1,b=2)
dict({'x':1}, y=2)
dict([('a',1),['b',2]])
dict(1)
namespace(a=1).a
namespace(a=1).b
namespace(a=1)['a']
namespace(a=1).b.c
namespace({'x':2}).x
joiner('|')()
cycler(1,2).next()
cycler(1,2).current
cycler()
strftime_now('%Y-%m-%d %H:%M:%S %B %d %A %j')
strftime_now(1)
raise_exception('boom ' ~ a)
raise_exception(5)
raise_exception()
undefinedv|raise
s|nofilter
s is notest
s.split(',', 1)[1:]
messages|map(attribute='role')|join(',')
messages[2].tool_calls[0].function.arguments|tojson
messages|selectattr('role','equalto','user')|map(attribute='content')|first
messages|selectattr('role','in',['user','tool'])|list|length
messages|last
messages[-1]['content']
messages[99]
messages[99] is defined
messages[99].role
1 == 1.0 == true
[1,2,3] == [1,2,3]
(1,2) == [1,2]
{'a':1} == {'a':1.0}
"ß"|upper
"ΑΣ"|lower
"İ"|lower
"ŉ"
"ǆ"|title
"éa"|capitalize
"x y"|wordcount
"hello world foo bar baz"|truncate(11)
"hello world foo bar baz"|truncate(11,true)
"hello world foo bar baz"|truncate(11,false,'..',0)
"foo bar"|truncate(255)
d|attr('x')
+5
+'x'
-'x'
--5
1--1
1 -1
a|abs + 1
-a|abs
(a,b)
[a,b,][0]
{'a':1,}
range(3,)|list
loop
loop.index
true
True
False
None
null
1 in [1,2] in [[1,2]]
2 * 3 ~ 4
1 + 1 ~ 1
'a' ~ 'b' == 'ab'
not 1 == 2
1 is odd and 2 is even
'%s' % none
10 // 3 * 3
5 % 3 * 2
1 // 0
1 % 0
1 / 0
1.0 / 0
0.0 ** -1
9223372036854775807
9223372036854775808
-9223372036854775808
1e308 * 10
-1e308 * 10
(1e308 * 10)|tojson
9007199254740993 == 9007199254740992.0
7 | string | length
x if x is defined else 'no x'
[x for x in l]
l if l else 'empty'
'a' if 'b' if 'c' else 'd' else 'e'
d | tojson | safe
d.items() | list | tojson
users[0].name[0]
users[0]['na' ~ 'me']
s[0:5] ~ '!'
s[a]
l[t]
d[l]
d[n]
s[b]
l[n]
'abc'[1]
"a\tb"|tojson
'😀'|tojson(true)
'日本'[0]
["日本",'\n',"\t","\\"]
{"a": none, "b": true}|tojson
'"' ~ "'" ~ '\\'
-0.0
0.0 * -1
1e16
123456789012345680.0
1.1 + 2.2
0.1 + 0.2
3.0 * 2
10 ** 18
1 < 2.5
n is none and n is not defined
"a".join is callable
'a b'.split(' ')|length
'aXbXc'.split('X')[-1].lstrip('\n')
{'a': 1}.a.b.c
messages[0].content.strip().upper().lower().title()
words|sort|join(',')|upper
words[0] in ['a','b']
'' is string
'abc' | list
d | map('upper') | list
5 | list
5 | join
{'a':[1,2]}.a|sum
l | map('string') | join('+')
words|select('equalto','a')|list
words|select('startingwith','a')|list
users | map(attribute=0) | list
[[1,2],[3,4]] | map(attribute=1) | list
[[1,2],[3,4]] | map('first') | list
[[1,2],[3,4]] | map('join','-') | list
[[1,2],[3,4]] | sum(start=[]) 
dict(words) 
caller
caller()
varargs
'a' 1
a b
(a
a)
[a
a]
{'a' 1}
{a:}
a.
a.1
l.0
l.0.x
a..b
a|
a is
a is not
a[:]
s[:]
l[:]|join
l[1:2,3]
a(
f(
range(a=1)
range(3, **{'x':1})
range(*[1,4])|list
dict(**{'a':1})
dict(*[{'a':1}], **{'b':2})
dict(a=1, **{'a':2})
a ! b
a $ b
a = b
a := b
a ? b : c
a && b
"unclosed
'\xZZ'
'\u12'
'\N{DASH}'
lambda x: x
a if
a if b else
not
- 
* 2
1 +
'''

# Whole templates, one a line; and every two and three lines together as one template, for the white space between them.
TEMPLATES = r'''
{% if a %}yes{% endif %}
{% if n %}yes{% elif t %}elif{% else %}no{% endif %}
{% for x in l %}{{ x }},{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in l %}{{ loop.previtem }}|{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.previtem.y }}{% endfor %}
{% for x in l %}{% if loop.nextitem is defined %}{{ loop.nextitem }}{% endif %}{% endfor %}
{% for x in l %}{{ loop.cycle('a','b') }}{% endfor %}
{% for x in [1,1,2] %}{{ loop.changed(x) }}{% endfor %}
{% for x in [] %}a{% else %}empty{% endfor %}
{% for x in undefinedv %}a{% else %}empty{% endfor %}
{% for x in n %}a{% endfor %}
{% for x in 5 %}a{% endfor %}
{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{{ loop.length }};{% endfor %}
{% for x in l if x > 10 %}{{ x }}{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d|items %}{{ k }}={{ v }};{{ loop.length }}{% endfor %}
{% for k in d %}{{ k }};{% endfor %}
{% for k, v in [[1,2],[3,4]] %}{{ k }}{{ v }};{% endfor %}
{% for k, v in [[1,2,3]] %}{{ k }}{% endfor %}
{% for k, v in [[1]] %}{{ k }}{% endfor %}
{% for k, v in l %}{{ k }}{% endfor %}
{% for a, (b, c) in [[1,[2,3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for c in s %}{{ c }}.{% endfor %}
{% for c in u %}[{{ c }}]{{ loop.length }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}
{% break %}
{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% set x = 5 %}{{ x }}
{% set x, y = 1, 2 %}{{ x }}{{ y }}
{% set x = 1, 2 %}{{ x }}
{% set (x, y) = (1, 2) %}{{ x }}{{ y }}
{% set x %}body {{ a }}{% endset %}[{{ x }}]
{% set x | upper %}body {{ a }}{% endset %}[{{ x }}]
{% set x | trim | replace('o','0') %}  foo  {% endset %}[{{ x }}]
{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}
{% set ns = namespace() %}{% for x in l %}{% set ns.m = x %}{% endfor %}{{ ns.m }}
{% set ns = {} %}{% set ns.x = 2 %}
{% set undefinedns.x = 2 %}
{% set ns = namespace(x=1) %}{{ ns }}
{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}
{% for i in l %}{% set x = i %}{% endfor %}{{ x }}
{% for i in l %}{% if loop.first %}{% set x = i %}{% endif %}[{{ x }}]{% endfor %}
{% for i in l %}{{ x }}{% set x = i %}{% endfor %}
{% for i in l %}{{ a }}{% set a = i %}{{ a }}{% endfor %}{{ a }}
{% for i in l %}{% if loop.first %}{% set a = 9 %}{% endif %}[{{ a }}]{% endfor %}
{% for i in l %}{% for j in [1] %}{{ a }}{% endfor %}{% set a = 9 %}{% endfor %}
{% for i in l %}{{ a }}{% endfor %}{% set a = 9 %}{{ a }}
{% for i in l %}{{ a }}{% endfor %}{% if t %}{% set a = 9 %}{% endif %}{{ a }}
{{ a }}{% for i in l %}{{ a }}{% endfor %}{% set a = 9 %}{{ a }}
{% if f %}{% set a = 9 %}{% endif %}{{ a }}
{% if t %}{% set a = 9 %}{% endif %}{{ a }}
{% if t %}{% set zz = 9 %}{% endif %}{{ zz }}
{% if f %}{% set zz = 9 %}{% endif %}{{ zz is defined }}
{% set a = a + 1 %}{{ a }}
{% set a = a %}{{ a }}
{% set zz = zz is defined %}{{ zz }}
{% macro m(x, y=2) %}[{{ x }}{{ y }}]{% endmacro %}{{ m(1) }}{{ m(1,3) }}{{ m(y=5,x=1) }}{{ m() }}
{% macro m(x, y=x) %}[{{ x }}{{ y }}]{% endmacro %}{{ m(1) }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1,2) }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(z=2) }}
{% macro m(x) %}{{ x.y }}{% endmacro %}{{ m() }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,a=3) }}
{% macro m(x) %}{{ x }}{{ varargs|join }}{% endmacro %}{{ m(1,2,3) }}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}hi{{ a }}{% endcall %}
{% macro m() %}{{ caller(5) }}{% endmacro %}{% call(x) m() %}hi{{ x }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}hi{% endcall %}
{% macro m() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ m() }}{% call m() %}C{% endcall %}
{% macro m() %}{{ a }}{{ zz }}{% endmacro %}{% set zz = 7 %}{{ m() }}
{% macro m() %}{{ a }}{% set a = 3 %}{{ a }}{% endmacro %}{{ m() }}{{ a }}
{% macro m(n) %}{% if n > 0 %}{{ n }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(3) }}
{% macro m(x) %}{{ loop }}{% endmacro %}{% for i in l %}{{ m(i) }}{% endfor %}
{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}
{% macro m() %}a{% endmacro %}{{ m }}
{% macro m() %} x {% endmacro %}{{ m()|trim }}{{ m().strip() }}{{ m() ~ 'z' }}{{ m() + 'z' }}
{% macro m() %}<b>{% endmacro %}{{ m() + '<i>' }}
{% macro outer() %}{% macro inner(x) %}({{ x }}){% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}
{% with x=1, y=2 %}{{ x }}{{ y }}{% endwith %}{{ x }}
{% with x=1, y=x %}{{ y }}{% endwith %}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q|length }}
{% filter upper %}abc {{ s }}{% endfilter %}
{% filter replace('a','b')|upper %}aaa{% endfilter %}
{% generation %}x{{ a }}{% set zz=1 %}{% endgeneration %}{{ zz }}
{% raw %}{{ a }}{% if %}{% endraw %}
{% raw -%}   {{ a }}  {%- endraw %} x
{%- raw %} {{ {% endraw -%}   y
{# comment #}x
a {#- comment -#} b
a {# {{ x }} {% if %} #} b
{# unclosed
{% raw %} unclosed
{% print a %}{% print a, b %}
{%if a%}x{%endif%}
{%- if a -%} x {%- endif -%} y
{%+ if a +%} x {%+ endif +%} y
  {% if a %}  
  x
  {% endif %}  
y
  {%+ if a %}
  x
  {%+ endif %}
y
  {%- if a %}
  x
  {%- endif %}
y
  {% if a -%}
  x
  {% endif -%}
y
a
 {{ a }}
 b
a
 {{- a -}}
 b
a {{+ a }} b
x  {# c #}
y
x
  {# c #}
y
x
  {#- c #}
  {# c -#}
  y

{% if a %}

x

{% endif %}

{% for x in l %}
  {{ x }}
{% endfor %}
{% for x in l -%}
  {{ x }}
{%- endfor %}
 {% for x in l %} {{ x }} {% endfor %} z
{% for x in l recursive %}{{ x }}{% endfor %}
{% for x in [[1,[2]],[3]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}
{% for x in l %}{{ loop(l) }}{% endfor %}
{% set loop = 1 %}{{ loop }}
{% for x in l %}{% set loop = 1 %}{% endfor %}
{% for loop in l %}{% endfor %}
{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
{% set c = cycler('a','b') %}{% for x in l %}{{ c.next() }}{% endfor %}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}
{% set x = l|map('string') %}{{ x|join }}{{ x|join }}.
{% set x = l|select('odd') %}{{ x|first }}{{ x|list }}
{% set x = {'a':1} %}{% set y = x.items() %}{{ y|list }}{{ y|list }}
{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }} {% endfor %}{% endfor %}
{% if a == 1 and (b or c) %}x{% endif %}
{% if not a is defined %}x{% else %}y{% endif %}
{% if a: %}x{% endif %}
{% if a, b %}x{% endif %}
{% if a if b else c %}x{% endif %}
{% if %}x{% endif %}
{% if a %}x
{% for x in l %}x
{% for x %}x{% endfor %}
{% for in l %}x{% endfor %}
{% for x.y in l %}x{% endfor %}
{% endif %}
{% endfor %}
{% if a %}{% endfor %}
{% else %}
{% set %}
{% set x %}
{% set x = %}
{% set 5 = 1 %}
{% set true = 1 %}
{% set a.b.c = 1 %}
{% set a[0] = 1 %}
{% macro %}{% endmacro %}
{% macro m %}{% endmacro %}
{% macro m(x=1, y) %}{% endmacro %}
{% macro m(1) %}{% endmacro %}
{% macro m(x) %}
{% call m %}{% endcall %}
{% unknown %}
{% do l.append(1) %}
{% include 'x' %}
{% }}
{{ %}
{{ }}
{% %}
{{
{%
{{ a
{{ a }
{ { a } }
{{ {'a': {'b': 1}}['a']['b'] }}
{{ {'a': {'b': 1}} }}
{{ '}}' }}{{ "{{" }}{{ '%}' }}
{% set x = '%}' %}{{ x }}
{{ a }}}
{{{ a }}}
{#}#}
{#-#}
{%- -%}
text only
trailing newline

two trailing


{% if a %}x{% endif %}

{{ a }}

{% set x = namespace(l=[]) %}{% set x.l = x.l + [1] %}{{ x.l }}
{% set m = messages %}{% if m[0].role == 'system' %}{% set sm = m[0].content %}{% set m = m[1:] %}{% else %}{% set sm = '' %}{% endif %}{{ sm }}{{ m|length }}
{% for m in messages %}{{ '<|' ~ m.role ~ '|>' }}{% if m.content is string %}{{ m.content|trim }}{% elif m.tool_calls %}{% for tc in m.tool_calls %}{{ tc.function.name }}({{ tc.function.arguments|tojson }}){% endfor %}{% endif %}{% if not loop.last %}
{% endif %}{% endfor %}
{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}
{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% break %}{% endif %}{% endfor %}{{ ns.found }}
{% for i in range(messages|length - 1, -1, -1) %}{{ messages[i].role }} {% endfor %}
{{ "a" if t }}{{ "b" if f }}c
{% for x in l %}{{ x if loop.index is odd else '-' }}{% endfor %}
{{ a -}}   
   b
{{ a }}   {{- b }}
{%- set x = 1 -%} {{- x -}} 
{% set x = 1 -%}
   y
{%- macro m(a) %}
 {{- a }}
{%- endmacro -%}
[{{ m('x') }}]
 {{ '' }}
    {{- 'x' }}
{% for i in [1] %}{% if true %}{% set zz = i %}{% endif %}{{ zz }}{% endfor %}{{ zz }}
{% set x = 'outer' %}{% macro m() %}{% set x = 'inner' %}{{ x }}{% endmacro %}{{ m() }}{{ x }}
{% set outer = 1 %}{% for i in [1,2] %}{% set outer = outer + i %}{{ outer }}{% endfor %}{{ outer }}
{% for outer in [1] %}{{ outer }}{% endfor %}{{ outer }}
{% for a in [5] %}{{ a }}{% endfor %}{{ a }}
{% for a in l if a > 1 %}{{ a }}{% endfor %}{{ a }}
{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}
{% for x in [1] %}{% for y in [2] if loop.first %}{{ y }}{% endfor %}{% endfor %}
{% for x in [] %}{% else %}{% set zz = 1 %}{{ zz }}{% endfor %}{{ zz }}
{% set f = s.upper %}{{ f() }}
{% set x = [1,2] %}{% set y = x %}{{ x is sameas y }}
'''

# What one line cannot hold.
MORE = ['{{ "line\\\ncont" }}', "a\r\nb\rc{{ 1 }}\r\n", "{{ 1 }}\n\n", "", "\n", "  {% if a %}x{% endif %}", "\t{%- if a %}x{% endif %}\n\n y"]


def render(source):
    try:
        variables = json.loads(json.dumps(VARS))  # a filter may change a list it is given
        return {"source": source, "expected": ENV.from_string(source).render(**variables)}
    except Exception:
        return {"source": source, "fails": True}


def main():
    templates = TEMPLATES.strip("\n").split("\n")
    sources = ["{{ " + e + " }}" for e in EXPRESSIONS.strip("\n").split("\n")] + MORE
    for n in (1, 2, 3):
        sources += ["\n".join(templates[i : i + n]) for i in range(len(templates) - n + 1)]
    with open(pathlib.Path(__file__).with_suffix(".jsonl"), "w") as out:
        for line in [{"vars": VARS}] + [render(s) for s in sources]:
            out.write(json.dumps(line) + "\n")


main()
