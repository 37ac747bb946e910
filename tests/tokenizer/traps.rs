//! Text that tokenizers stumble over, made in code so that any machine makes the same.

/// Things that have gone wrong in tokenizers: contractions, digits, runs of spaces and line ends, CRLF, scripts without
/// spaces, combining and invisible characters, emoji sequences, private and astral planes, code, and special tokens written out.
const PIECES: &[&str] = &[
    "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。",
    "こんにちは世界。これはテストです。カタカナとひらがな。",
    "안녕하세요 세계! 대한민국. ",
    "Ünïcödé naïve café “quotes” — dash… ",
    "Привет, мир! Это тест. ",
    "مرحبا بالعالم ",
    "नमस्ते दुनिया ",
    "ภาษาไทย ",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏽😀🤖 ",
    "x²+y³=z⁴ ½ ¾ Ⅷ ① ",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎𠜱 ",
    "\u{a0}\u{2003}\u{3000}spaces ",
    "\u{200b}zero\u{200d}width\u{feff} ",
    "\t\ttabs\t",
    "a\u{301} combining e\u{301} ",
    " ",
    "   ",
    "                 ",
    "\n\n",
    "\n\n\n",
    "\n\n\n\n\n\n\n",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "\r\n",
    "\r\n\r\n",
    "\n \n  \n",
    "\n\t\n",
    "====",
    "-----------",
    "***",
    "......",
    "!!!???",
    "0123456789",
    "3.14159",
    "1,234,567",
    "don't I'm we'll they've HE'S I'D ",
    "<div><p>x</p></div>",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<bos>",
    "<eos>",
    "<start_of_turn>model\n",
    "<end_of_turn>\n",
    "<unk>",
    "<pad>",
    "<0x41>",
    "▁▁",
    "[multimodal]",
    "</s>",
    "<s>",
    "<file_sep>",
    "http://example.com/a?b=c&d=%20",
    "foo_bar fooBar FOO-BAR",
    "#include <stdio.h>\nint main(void) {\n    return 0;\n}\n",
    "def f(x):\n\treturn [i for i in range(x)]  # done\n",
    "aaaaaaaaaaaaaaaaaaaaaaa",
    "hahahahahahaha",
    "ÀÁÂÃÄÅ",
    "\u{2028}\u{2029}",
    "\u{7}\u{1b}[0m",
    "ﬁ ligature ﬀ",
];

const LETTERS: &[u8] = b"abcdefghij KLM,.;:'\"()[]{}<>/\\|=+-_*&^%$#@!~`0123456789\n ";

/// xorshift64: enough to shuffle text.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % n as u64) as usize
    }
}

/// At least `bytes` bytes of traps in an order that `seed` decides.
pub(crate) fn traps(seed: u64, bytes: usize) -> String {
    let mut random = Random(seed | 1);
    let mut out = String::new();
    while out.len() < bytes {
        match random.below(20) {
            0..12 => out.push_str(PIECES[random.below(PIECES.len())]),
            12..15 => {
                let letters = 1 + random.below(29);
                out.extend((0..letters).map(|_| char::from(LETTERS[random.below(LETTERS.len())])));
            }
            15..18 => {
                // Below the surrogates, private use and behind it, symbols and emoji, CJK extension B. Other planes are
                // left out: there newer tables of character classes hold letters that older ones do not know.
                let ranges = [(0x20, 0xd7e0), (0xe000, 0x1fff), (0x1_f300, 0x6f0), (0x2_0000, 0xa6d0)];
                let (first, length) = ranges[random.below(ranges.len())];
                out.extend(char::from_u32(first + random.below(length) as u32));
            }
            _ => {
                out.extend(std::iter::repeat_n(' ', 1 + random.below(39)));
                out.extend(std::iter::repeat_n('\n', random.below(5)));
            }
        }
    }
    out
}
