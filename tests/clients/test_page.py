"""The web page in a headless Chromium: as a person uses it, and never a complaint of the console or a request to anywhere else."""
import json
import os
import unittest

import devtools
import rig

server = None
page = None
SHOTS = "build"
ANSWER = "document.querySelector('#talk .turn.assistant:last-of-type')"
NASTY = ("# Title <script>window.pwned = 1</script>\n\n<script>window.pwned = 2</script> <img src=x onerror='window.pwned = 3'>\n\n"
         "- a **bold <b onclick=\"pwned=4\">b</b>**\n  - inner\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| <i>1</i> | `<u>` |\n\n"
         "```html\n<script>window.pwned = 5</script>\n```\n\n[good](https://example.org/a) [bad](javascript:window.pwned=6) "
         "[worse](data:text/html,x)\n\n> quoted <style>* { display: none }</style>\n")


def setUpModule():
    global server, page
    if not devtools.find():
        raise unittest.SkipTest("there is no Chromium here")
    server = rig.Server("--ctx", 2048, "--threads", 1, "--cpu", "scalar")  # slow enough to be stopped
    page = devtools.Page()


def tearDownModule():
    if page:
        page.close()
    if server:
        server.stop()


class Case(unittest.TestCase):
    def setUp(self):
        page.colours("light")
        page.open(server.url + "/")
        page.js("localStorage.clear(), sessionStorage.clear()")
        page.complaints.clear()
        page.requests.clear()
        page.open(server.url + "/")
        page.wait("document.getElementById('model').textContent")

    def tearDown(self):
        self.assertEqual(page.complaints, [])
        self.assertEqual([u for u in page.requests if not u.startswith((server.url + "/", "data:"))], [])

    def ask(self, text):
        page.type(text)
        page.press("Enter")
        page.wait("document.querySelectorAll('.turn.user').length && document.getElementById('stop').hidden")

    def keep(self, name):
        page.screenshot(os.path.join(SHOTS, name))


class Talking(Case):
    def test_a_question_is_typed_sent_and_answered_in_a_stream(self):
        self.assertEqual(page.js("document.activeElement.id"), "prompt")
        page.js("window.seen = new Set, new MutationObserver(() => seen.add(document.querySelector('.turn.assistant')?.innerText.length))"
                ".observe(document.getElementById('talk'), { childList: true, subtree: true, characterData: true })")
        self.ask("Tell me a story about a little fox.")
        self.assertGreater(page.js("seen.size"), 4)
        self.assertGreater(page.js(ANSWER + ".innerText.length"), 60)
        self.assertIn("tokens in", page.js(ANSWER + ".querySelector('.foot').innerText"))
        self.assertEqual(page.js("document.activeElement.id"), "prompt")
        self.assertEqual(page.js("document.querySelectorAll('#list li').length"), 1)

    def test_shift_and_enter_break_the_line_and_nothing_is_sent(self):
        page.type("one")
        page.press("Enter", shift=True)
        page.type("two")
        self.assertEqual(page.js("document.getElementById('prompt').value"), "one\ntwo")
        self.assertEqual(page.js("document.querySelectorAll('.turn').length"), 0)

    def test_escape_stops_the_answer_and_keeps_what_came(self):
        page.js("new MutationObserver((_, o) => { if ((document.querySelector('.turn.assistant')?.innerText.length ?? 0) > 5) {"
                "o.disconnect(); document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })); } })"
                ".observe(document.getElementById('talk'), { childList: true, subtree: true, characterData: true })")
        self.ask("Tell me a very long story about a little fox.")
        self.assertIn("stopped", page.js(ANSWER + ".querySelector('.foot').innerText"))
        server.wait_until("the work ends", lambda s: s["requests_running"] == 0)
        self.ask("And then?")  # the conversation goes on
        self.assertEqual(page.js("document.querySelectorAll('.turn').length"), 4)

    def test_a_reload_finds_the_conversation_as_it_was(self):
        self.ask("Hi")
        before = page.js("[...document.querySelectorAll('.turn')].map(t => t.innerText)")
        page.call("Page.reload")
        page.wait("document.readyState === 'complete' && document.querySelectorAll('.turn').length === 2")
        self.assertEqual(page.js("[...document.querySelectorAll('.turn')].map(t => t.innerText)"), before)

    def test_conversations_are_begun_chosen_and_deleted(self):
        self.ask("Hi")
        page.press("n", alt=True)
        self.assertEqual(page.js("document.querySelectorAll('.turn').length"), 0)
        self.ask("Hello!")
        self.assertEqual(page.js("[...document.querySelectorAll('#list .open')].map(b => b.innerText)"), ["Hello!", "Hi"])
        page.js("document.querySelectorAll('#list .open')[1].click()")
        self.assertEqual(page.js("document.querySelector('.turn.user').innerText"), "Hi")
        page.js("document.querySelectorAll('#list .drop')[1].click()")
        self.assertEqual(page.js("[...document.querySelectorAll('#list .open')].map(b => b.innerText)"), ["Hello!"])

    def test_settings_reach_the_server_and_are_kept(self):
        page.press("s", alt=True)
        page.js("for (const [id, value] of [['s-max_tokens', '5'], ['s-temperature', '0']]) { const f = document.getElementById(id);"
                "f.value = value; f.dispatchEvent(new Event('change')); }; document.getElementById('prompt').focus()")
        self.ask("Tell me a story about a little fox.")
        self.assertIn("5 tokens in", page.js(ANSWER + ".querySelector('.foot').innerText"))
        self.assertIn("cut at its length", page.js(ANSWER + ".querySelector('.foot').innerText"))
        page.call("Page.reload")
        page.wait("document.readyState === 'complete' && document.getElementById('s-max_tokens').value === '5'")

    def test_thoughts_are_folded_away(self):
        self.ask("Write a story with the words moon, girl and happy.")
        self.assertFalse(page.js("document.querySelector('details.think').hidden"))
        self.assertFalse(page.js("document.querySelector('details.think').open"))
        self.assertNotIn("<think>", page.js("document.getElementById('talk').textContent"))


class Safety(Case):
    def test_text_stays_text_whoever_wrote_it(self):
        talk = [{"id": "1-1", "title": "", "messages": [{"role": "user", "content": NASTY},
                                                        {"role": "assistant", "content": NASTY, "reasoning": NASTY, "foot": NASTY}]}]
        page.js(f"localStorage.setItem('sluice.talks', {json.dumps(json.dumps(talk))})")
        page.open(server.url + "/?nasty")
        page.wait("document.querySelectorAll('.turn').length === 2")
        self.assertIsNone(page.js("window.pwned"))
        self.assertEqual(page.js("[...document.querySelectorAll('#talk :is(script, img, style, iframe, i, u, b, [onclick], [onerror])')]"
                                 ".map(n => n.outerHTML)"), [])
        self.assertEqual(page.js("[...document.querySelectorAll('#talk a')].map(a => a.getAttribute('href'))"), ["https://example.org/a"])
        self.assertEqual(page.js("document.querySelector('#talk pre code').textContent"), "<script>window.pwned = 5</script>")
        self.assertEqual(page.js("document.querySelector('.turn.user').textContent"), NASTY)
        for what in ("h2", "ul ul", "ol li", "table td", "blockquote", "strong"):
            self.assertTrue(page.js(f"!!document.querySelector('#talk .turn.assistant {what}')"), what)
        self.keep("page-markdown.png")

    def test_no_script_may_be_put_in(self):
        page.js("{ const s = document.createElement('script'); s.textContent = 'window.pwned = 1'; document.body.append(s); }")
        page.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 1\">')")
        self.assertIsNone(page.js("new Promise(done => setTimeout(() => done(window.pwned), 200))"))
        self.assertTrue(any("Content Security Policy" in c for c in page.complaints))
        page.complaints.clear()


# the contrast of every visible text with what is behind it, as WCAG counts it: the worst, and where
CONTRAST = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number), light = c => { const [r, g, b] = rgb(c).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = n => { for (; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor; if ((rgb(c)[3] ?? 1) > 0) return c; } return 'rgb(255, 255, 255)'; };
  let worst = [99, ''];
  for (const n of document.querySelectorAll('body *')) {
    if (![...n.childNodes].some(c => c.nodeType === 3 && c.data.trim()) || !n.checkVisibility() || n.className === 'skip') continue;
    const a = light(getComputedStyle(n).color), b = light(behind(n)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst[0]) worst = [ratio, n.tagName + '.' + n.className + ': ' + n.textContent.slice(0, 30)];
  }
  return worst;
})()"""


class Looks(Case):
    def test_dark_and_light_can_be_read_and_every_panel_opens_by_key(self):
        self.ask("Tell me a story about a little fox.")
        page.press("l", alt=True)
        page.wait("document.getElementById('state').textContent && document.getElementById('heat').width === 24")
        page.wait("Number(document.getElementById('v-memory').textContent) > 0")
        self.ask("And what did the owl say?")
        page.wait("document.getElementById('state').textContent === 'at rest'")
        self.assertTrue(page.js("(() => { const c = document.getElementById('heat'); return c.getContext('2d')"
                                ".getImageData(0, 0, c.width, c.height).data.some(v => v && v !== 255); })()"))
        for scheme, name in (("dark", "page-dark.png"), ("light", "page.png")):
            page.colours(scheme)
            ratio, where = page.js(CONTRAST)
            self.assertGreaterEqual(ratio, 4.5, f"{scheme}: {where}")
            self.keep(name)
        page.press("s", alt=True)
        self.assertTrue(page.js("document.getElementById('s-system').checkVisibility() && document.getElementById('panel').hidden"))
        self.assertGreaterEqual(page.js(CONTRAST)[0], 4.5, page.js(CONTRAST)[1])
        self.keep("page-settings.png")

    def test_a_phone_shows_all_of_it_without_moving_sideways(self):
        page.open(server.url + "/", 390, 844, phone=True)
        page.wait("document.getElementById('model').textContent")
        page.js("document.getElementById('prompt').focus()")
        self.ask("Tell me a story about a little fox.")
        fits = ("document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight && "
                "[...document.querySelectorAll('header *, #form *')].filter(n => n.checkVisibility()).every(n => { "
                "const r = n.getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth && r.bottom <= innerHeight; })")
        self.assertTrue(page.js(fits))
        self.keep("page-phone.png")
        page.js("document.getElementById('menu').click()")
        self.assertTrue(page.js("document.getElementById('new').checkVisibility()"))
        page.js("document.getElementById('new').click()")
        self.assertFalse(page.js("document.getElementById('new').checkVisibility()"))
        page.js("document.getElementById('set').click()")
        self.assertTrue(page.js("document.getElementById('s-system').checkVisibility()"))
        self.assertTrue(page.js(fits))
        self.keep("page-phone-settings.png")
        page.size(1280, 800)

    def test_every_control_has_a_name_and_tab_reaches_it(self):
        nameless = page.js("[...document.querySelectorAll('button, input, textarea, a')].filter(n => !(n.innerText || n.ariaLabel || "
                           "n.labels?.length)).map(n => n.outerHTML)")
        self.assertEqual(nameless, [])
        reached = set()
        for _ in range(12):
            page.press("Tab")
            reached.add(page.js("document.activeElement.id || document.activeElement.className"))
        self.assertTrue({"new", "live", "set", "prompt", "send"} <= reached, reached)


if __name__ == "__main__":
    rig.main("the page in Chromium")
