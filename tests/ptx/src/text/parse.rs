//! The parser of a file: directives, variables, functions. Bodies are in `body`.

use crate::report::LoadError;
use crate::text::body;
use crate::text::lex::{Spot, Token, lex};
use crate::text::{Function, Module, Storage, Value, Variable};
use crate::ty::Type;

/// Most bytes that one variable may have.
const MAX_BYTES: u64 = 1 << 30;

pub(crate) fn parse(text: &str) -> Result<Module, LoadError> {
    let spots = lex(text)?;
    let mut tokens = Tokens { spots: &spots, at: 0 };
    let mut module =
        Module { version: String::new(), target: String::new(), variables: Vec::new(), functions: Vec::new() };
    while let Some(word) = tokens.directive() {
        let line = tokens.line();
        match word.as_str() {
            ".version" => {
                let version = tokens.next()?;
                let Token::F64(bits) = version else { return Err(LoadError::syntax(line, "the version")) };
                module.version = format!("{:.1}", f64::from_bits(bits));
            }
            ".target" => {
                module.target = tokens.word()?;
                while tokens.accept(',') {
                    tokens.word()?;
                }
            }
            ".address_size" => {
                if tokens.integer()? != 64 {
                    return Err(LoadError::syntax(line, "only addresses of 64 bits are"));
                }
            }
            ".file" | ".loc" => tokens.skip_line(line),
            ".section" => tokens.skip_braces()?,
            ".pragma" | ".alias" => tokens.skip_statement(),
            ".visible" | ".weak" | ".common" => {}
            ".extern" => {
                let inner = tokens.directive().ok_or_else(|| LoadError::syntax(line, "what is extern"))?;
                match inner.as_str() {
                    ".func" => module.functions.push(tokens.function(false)?),
                    _ => {
                        let mut variables = tokens.variables(&inner)?;
                        variables.iter_mut().for_each(|v| v.external = true);
                        module.variables.append(&mut variables);
                    }
                }
            }
            ".entry" => module.functions.push(tokens.function(true)?),
            ".func" => module.functions.push(tokens.function(false)?),
            _ => module.variables.append(&mut tokens.variables(&word)?),
        }
    }
    if tokens.at < spots.len() {
        return Err(LoadError::syntax(tokens.line(), "a directive is expected"));
    }
    if module.version.is_empty() || module.target.is_empty() {
        return Err(LoadError::syntax(1, "no `.version` and `.target`: this is not PTX"));
    }
    Ok(module)
}

/// The tokens that are left.
pub(crate) struct Tokens<'a> {
    pub(crate) spots: &'a [Spot],
    pub(crate) at: usize,
}

impl Tokens<'_> {
    pub(crate) fn line(&self) -> u32 {
        self.spots.get(self.at).or(self.spots.last()).map_or(0, |s| s.line)
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.spots.get(self.at).map(|s| &s.token)
    }

    pub(crate) fn next(&mut self) -> Result<Token, LoadError> {
        let token = self.peek().cloned().ok_or_else(|| LoadError::syntax(self.line(), "the text ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    pub(crate) fn accept(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, mark: char) -> Result<(), LoadError> {
        if self.accept(mark) { Ok(()) } else { Err(LoadError::syntax(self.line(), &format!("`{mark}` is expected"))) }
    }

    pub(crate) fn word(&mut self) -> Result<String, LoadError> {
        let line = self.line();
        match self.next()? {
            Token::Word(word) => Ok(word),
            Token::Integer(_) | Token::F32(_) | Token::F64(_) | Token::Text(_) | Token::Mark(_) => {
                Err(LoadError::syntax(line, "a name is expected"))
            }
        }
    }

    pub(crate) fn integer(&mut self) -> Result<u64, LoadError> {
        let line = self.line();
        match self.next()? {
            Token::Integer(value) => Ok(value),
            Token::Word(_) | Token::F32(_) | Token::F64(_) | Token::Text(_) | Token::Mark(_) => {
                Err(LoadError::syntax(line, "an integer is expected"))
            }
        }
    }

    fn small(&mut self) -> Result<u32, LoadError> {
        let line = self.line();
        u32::try_from(self.integer()?).map_err(|_| LoadError::syntax(line, "the integer is too large"))
    }

    /// The next word, if it begins with a dot.
    pub(crate) fn directive(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(word)) if word.starts_with('.') => {
                let word = word.clone();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }

    pub(crate) fn skip_line(&mut self, line: u32) {
        while self.spots.get(self.at).is_some_and(|s| s.line == line) {
            self.at += 1;
        }
    }

    pub(crate) fn skip_statement(&mut self) {
        while self.at < self.spots.len() && !self.accept(';') {
            self.at += 1;
        }
    }

    fn skip_braces(&mut self) -> Result<(), LoadError> {
        while self.next()? != Token::Mark('{') {}
        while self.next()? != Token::Mark('}') {}
        Ok(())
    }

    /// Variables of one declaration whose storage is `storage`; ends behind `;`, or before `,` and `)` for parameters.
    pub(crate) fn variables(&mut self, storage: &str) -> Result<Vec<Variable>, LoadError> {
        let line = self.line();
        let parameter = storage == ".param";
        let storage = match storage {
            ".global" => Storage::Global,
            ".const" => Storage::Const,
            ".shared" => Storage::Shared,
            ".local" => Storage::Local,
            ".param" | ".reg" => Storage::Param,
            _ => return Err(LoadError::syntax(line, storage)),
        };
        let (mut align, mut vector, mut element, mut pointer) = (0usize, 1usize, None, false);
        while let Some(word) = self.directive() {
            match word.as_str() {
                ".align" => {
                    let given = self.integer()? as usize;
                    if !given.is_power_of_two() || given > 4096 {
                        return Err(LoadError::syntax(line, "the alignment"));
                    }
                    // Behind `.ptr` it is that of what the parameter points at.
                    if !pointer {
                        align = given;
                    }
                }
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                ".ptr" => pointer = true,
                ".global" | ".const" | ".shared" | ".local" if pointer => {}
                ".managed" => {}
                _ => element = Some(Type::parse(&word[1..]).ok_or_else(|| LoadError::syntax(line, &word))?),
            }
        }
        let element = element.ok_or_else(|| LoadError::syntax(line, "a variable without a type"))?;
        let mut variables = Vec::new();
        loop {
            let line = self.line();
            let name = self.word()?;
            let mut count = Some(1u64);
            while self.accept('[') {
                if self.accept(']') {
                    count = Some(0);
                } else {
                    let more = self.integer()?;
                    count = count.and_then(|c| c.checked_mul(more));
                    self.expect(']')?;
                }
            }
            let bytes = count
                .and_then(|c| c.checked_mul((element.bytes() * vector) as u64))
                .filter(|b| *b <= MAX_BYTES)
                .ok_or_else(|| LoadError::syntax(line, "the variable is too large"))?;
            let values = if self.accept('=') { self.values()? } else { Vec::new() };
            let align = align.max(element.bytes() * vector);
            let bytes = bytes as usize;
            let bytes = if bytes == 0 { values.len() * element.bytes() } else { bytes };
            variables.push(Variable { line, storage, name, align, element, bytes, external: false, values });
            if parameter && matches!(self.peek(), Some(Token::Mark(')' | ','))) {
                return Ok(variables);
            }
            if self.accept(';') {
                return Ok(variables);
            }
            self.expect(',')?;
        }
    }

    fn values(&mut self) -> Result<Vec<Value>, LoadError> {
        let line = self.line();
        if !self.accept('{') {
            return Ok(vec![self.value()?]);
        }
        let mut values = Vec::new();
        while !self.accept('}') {
            if self.peek() == Some(&Token::Mark('{')) {
                values.append(&mut self.values()?);
            } else {
                values.push(self.value()?);
            }
            if !self.accept(',') && self.peek() != Some(&Token::Mark('}')) {
                return Err(LoadError::syntax(line, "the initialiser"));
            }
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<Value, LoadError> {
        let line = self.line();
        let negative = self.accept('-');
        let sign = |v: u64| if negative { v.wrapping_neg() } else { v };
        Ok(match self.next()? {
            Token::Integer(value) => Value::Bits(sign(value)),
            Token::F32(bits) => Value::Bits(u64::from(bits) ^ (u64::from(negative) << 31)),
            Token::F64(bits) => Value::Bits(bits ^ (u64::from(negative) << 63)),
            Token::Word(word) if word == "generic" => {
                self.expect('(')?;
                let name = self.word()?;
                self.expect(')')?;
                Value::Address(name, self.plus()?)
            }
            Token::Word(word) => Value::Address(word, self.plus()?),
            Token::Text(_) | Token::Mark(_) => return Err(LoadError::syntax(line, "the initialiser")),
        })
    }

    /// `+ n`, `+ -n`, `- n`, or nothing.
    pub(crate) fn plus(&mut self) -> Result<i64, LoadError> {
        let mut negative = self.peek() == Some(&Token::Mark('-'));
        if !self.accept('+') && !self.accept('-') {
            return Ok(0);
        }
        negative ^= self.accept('-');
        let value = self.integer()? as i64;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    fn parameters(&mut self) -> Result<Vec<Variable>, LoadError> {
        let mut found = Vec::new();
        if !self.accept('(') {
            return Ok(found);
        }
        while !self.accept(')') {
            let storage = self.directive().ok_or_else(|| LoadError::syntax(self.line(), "a parameter is expected"))?;
            // A parameter in a register has the same meaning as one in memory.
            let storage = if storage == ".reg" { ".param".to_owned() } else { storage };
            found.append(&mut self.variables(&storage)?);
            self.accept(',');
        }
        Ok(found)
    }

    fn function(&mut self, entry: bool) -> Result<Function, LoadError> {
        let line = self.line();
        let results = self.parameters()?;
        let name = self.word()?;
        let params = self.parameters()?;
        let (mut most, mut exactly) = (None, None);
        while let Some(word) = self.directive() {
            match word.as_str() {
                ".maxntid" => most = Some(self.extents()?),
                ".reqntid" => exactly = Some(self.extents()?),
                ".minnctapersm" | ".maxnreg" | ".maxclusterrank" => {
                    self.small()?;
                }
                ".noreturn" => {}
                ".pragma" => self.skip_statement(),
                _ => return Err(LoadError::syntax(self.line(), &word)),
            }
        }
        let body = if self.accept(';') {
            None
        } else {
            self.expect('{')?;
            Some(body::body(self)?)
        };
        Ok(Function { line, name, entry, results, params, most, exactly, body })
    }

    fn extents(&mut self) -> Result<[u32; 3], LoadError> {
        let mut extents = [self.small()?, 1, 1];
        for extent in &mut extents[1..] {
            if self.accept(',') {
                *extent = self.small()?;
            }
        }
        Ok(extents)
    }
}
