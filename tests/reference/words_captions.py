"""Two thousand caption-like sentences, the same at every call: plain ones, and difficult ones for tokenizers."""

WHO = """a dog|two dogs|a brown dog|three small puppies|a man|a young man|an old man with a beard|two women|a woman in a
red coat|a little girl|the girl|a boy in blue swim trunks|several children|a crowd of people|a cyclist|a skateboarder|a
football player|a rock climber|someone|a toddler|four kids|a surfer|a black and white dog|a greyhound|the
bride""".replace("\n", " ").split("|")
DOES = """runs|is running|jumps|leaps over a log|is sitting|sits|stands|plays|is playing with a ball|catches a frisbee|
climbs|rides a bike|is riding a wave|swims|is smiling|looks at the camera|holds a stick in its mouth|walks|is walking|
throws a snowball|slides down|poses|splashes|reads a newspaper|kicks the ball""".replace("\n", "").split("|")
WHERE = """on the beach|in the snow|through tall grass|in a park|near the water|on a wooden bench|in front of a brick
building|down the street|at night|on a mountain|across a muddy field|into a swimming pool|beside a lake|under a bridge|
over an obstacle|on a skateboard ramp|in the background|by a fountain|along a dirt road|at a carnival""".replace(
    "\n", " ").replace("| ", "|").split("|")
WITH = """while others watch|with its tongue out|wearing a helmet|and a red jacket|holding hands|behind a fence|during the
day|as the sun sets|next to another one|with both arms in the air""".replace("\n", " ").split("|")

NASTY = [
    "", " ", "   ", "\t", "\n", ".", "!", "a", " a", "a ", " .", "...", " . . .", "a.b.c", "a\nb\r\nc", "tab\tseparated",
    "A MAN IN A HAT .", "McDonald's sign", "it's the girls' dog , isn't it ?", "we've they're I'm he'll she'd DON'T IT'S",
    "' s 't ''s '''re 'S 'LL", "“curly” ‘quotes’ it’s the dog’s", "rock'n'roll", "a dog -- no , a cat - runs",
    "(a man) [in] {brackets} <with> \"quotes\"", "50% off @ $3.99 & #1 *** ~~~ ^_^", "route 66 , 1234567 , 3.14 , 1st 2nd",
    "12:30pm on 4/7/2008", "a 5'10\" man", "& &amp; &lt; &#39;", "http://example.com/a?b=c&d=e", "user@example.com",
    "C++ and C# on a T-shirt", "snow_boarder under_score", "don`t", "\\ backslash \\n", "a  dog   with    spaces     ",
    "    four in front", "naïve café", "nai\u0308ve cafe\u0301", "Ångström A\u030angstro\u0308m", "Straße ẞ STRASSE", "İstanbul I ı i",
    "ΟΔΟΣ οδός Σ", "Привет мир", "שלום עולם", "مرحبا ١٢٣", "नमस्ते १२३", "สวัสดี", "你好，世界", "日本語のテキスト", "한국어 \u1112\u1161\u11ab",
    "ﬁsh ﬂag", "Ｆｕｌｌ ｗｉｄｔｈ １２", "x² ½ Ⅷ ①", "𝐁𝐨𝐥𝐝 𝓼𝓬𝓻𝓲𝓹𝓽", "ǅ ŉ ĳ", "a dog 🐕 runs", "👨‍👩‍👧‍👦 family", "🇻🇳🇺🇸 flags", "👍🏽 thumbs",
    "1️⃣ keycap", "🫠🪿 newer emoji", "♥ ★ → ∞ ≠", "…", "– — ―", "\u00a0no\u00a0break\u00a0", "\u3000ideographic\u3000space", "zero\u200bwidth\u200d",
    "\ufeffbyte order mark", "nel\u0085line\u2028paragraph\u2029", "thin\u2009and\u202fnarrow", "\u180emongolian", "\x00null\x01one\x1f\x7f",
    "a\x1cb\x1db", "\ue000private\uf8ff", "\uffff noncharacter", "\U0010ffff end", "\U0001e922\U0001e900 adlam", "\U0001df00 latin ext g",
    "\U00010d4a garay", "\u0378 unassigned", "e\u0301\u0327\u0323 stacked", "\u0301 alone", "soft\u00adhyphen", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 tags",
    "a <|endoftext|> b", "<|endoftext|>", "<|startoftext|> x", "<|ENDOFTEXT|> <|StartOfText|>", "<|endoftext", "< | endoftext | >",
    "a" * 300, "ab " * 120, "! " * 90, "12345678901234567890 " * 9, "🐕" * 40, "supercalifragilisticexpialidocious",
    "a very long caption that goes on and on " * 12, "Ünïcödé " * 30, "the dog ran , and ran , and ran , " * 11 + "." ,
]


class Lcg:
    """Linear congruential generator, independent of the Python version."""

    def __init__(self, state):
        self.state = state

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n

    def choice(self, items):
        return items[self.below(len(items))]


def one(random):
    text = f"{random.choice(WHO)} {random.choice(DOES)} {random.choice(WHERE)}"
    if random.below(3) == 0:
        text += f" {random.choice([',', 'and', 'while'])} {random.choice(WHO)} {random.choice(DOES)}"
    if random.below(3) == 0:
        text += f" {random.choice(WITH)}"
    if random.below(8) == 0:
        text += f" wearing number {random.below(10 ** (1 + random.below(4)))}"
    twist = random.below(14)
    if twist == 0:
        text = text.upper()
    elif twist == 1:
        text = text[0].upper() + text[1:]
    elif twist == 2:
        text = text.replace(" ", "  ", 2)
    elif twist == 3:
        text = text.replace(" is ", random.choice(["'s ", " isn't ", "’s "]))
    elif twist == 4:
        text = text.replace("a ", random.choice(['a "', "a “", "the dog's ", "à "]), 1)
    elif twist == 5:
        text = text.replace(" ", random.choice(["-", ", ", "/", "\u00a0", "\n"]), 1)
    elif twist == 6:
        text += random.choice([" 🐶", "!!!", "?!", " ;)", " ...", "…"])
    return text + random.choice([" .", " .", " .", ".", "", " . "])


def captions():
    random = Lcg(8091)
    plain = [one(random) for _ in range(2000 - len(NASTY))]
    # Spread out, so that a training half has some of each kind.
    every = len(plain) // len(NASTY)
    for index, text in enumerate(NASTY):
        plain.insert(index * (every + 1), text)
    return plain
