//! The parser of a function's body: declarations, labels, instructions and their operands.

use crate::report::LoadError;
use crate::text::lex::Token;
use crate::text::parse::Tokens;
use crate::text::{Item, Name, Operand, Raw};
use crate::ty::Type;

/// Items up to the brace that closes the body, whose opening one has been read.
pub(crate) fn body(tokens: &mut Tokens<'_>) -> Result<Vec<Item>, LoadError> {
    let mut items = Vec::new();
    let mut depth = 0;
    loop {
        let line = tokens.line();
        if tokens.accept('}') {
            if depth == 0 {
                return Ok(items);
            }
            depth -= 1;
            items.push(Item::Close);
        } else if tokens.accept('{') {
            depth += 1;
            items.push(Item::Open);
        } else if tokens.accept('@') {
            let negated = tokens.accept('!');
            let guard = Some((tokens.word()?, negated));
            let opcode = tokens.word()?;
            items.push(Item::Instruction(instruction(tokens, line, guard, &opcode)?));
        } else if tokens.accept(';') {
        } else {
            let word = tokens.word()?;
            match word.as_str() {
                ".reg" => items.push(registers(tokens, line)?),
                ".local" | ".shared" | ".param" | ".global" | ".const" => {
                    items.extend(tokens.variables(&word)?.into_iter().map(Item::Variable));
                }
                ".loc" | ".file" => tokens.skip_line(line),
                ".pragma" | ".callprototype" | ".calltargets" => tokens.skip_statement(),
                _ if tokens.accept(':') => items.push(label(tokens, line, word)?),
                _ => items.push(Item::Instruction(instruction(tokens, line, None, &word)?)),
            }
        }
    }
}

fn label(tokens: &mut Tokens<'_>, line: u32, name: String) -> Result<Item, LoadError> {
    let Some(Token::Word(word)) = tokens.peek() else { return Ok(Item::Label { line, name }) };
    match word.as_str() {
        ".branchtargets" => {
            tokens.at += 1;
            let mut labels = vec![tokens.word()?];
            while tokens.accept(',') {
                labels.push(tokens.word()?);
            }
            tokens.expect(';')?;
            Ok(Item::Targets { name, labels })
        }
        _ => Ok(Item::Label { line, name }),
    }
}

fn registers(tokens: &mut Tokens<'_>, line: u32) -> Result<Item, LoadError> {
    let mut word = tokens.word()?;
    if word == ".align" {
        tokens.integer()?;
        word = tokens.word()?;
    }
    let ty = word.strip_prefix('.').and_then(Type::parse).ok_or_else(|| LoadError::syntax(line, &word))?;
    let mut names = Vec::new();
    loop {
        let text = tokens.word()?;
        let mut count = None;
        if tokens.accept('<') {
            let value = tokens.integer()?;
            count = Some(
                u32::try_from(value)
                    .ok()
                    .filter(|c| *c <= 1 << 20)
                    .ok_or_else(|| LoadError::syntax(line, "the count"))?,
            );
            tokens.expect('>')?;
        }
        names.push(Name { text, count });
        if tokens.accept(';') {
            return Ok(Item::Registers { line, ty, names });
        }
        tokens.expect(',')?;
    }
}

fn instruction(
    tokens: &mut Tokens<'_>,
    line: u32,
    guard: Option<(String, bool)>,
    opcode: &str,
) -> Result<Raw, LoadError> {
    let opcode = opcode.split('.').map(str::to_owned).collect();
    let mut operands = Vec::new();
    while !tokens.accept(';') {
        operands.push(operand(tokens)?);
        if !tokens.accept(',') && tokens.peek() != Some(&Token::Mark(';')) {
            return Err(LoadError::syntax(tokens.line(), "`,` or `;` is expected behind an operand"));
        }
    }
    Ok(Raw { line, guard, opcode, operands })
}

fn operand(tokens: &mut Tokens<'_>) -> Result<Operand, LoadError> {
    let line = tokens.line();
    if tokens.accept('{') {
        return Ok(Operand::Vector(list(tokens, '}')?));
    }
    if tokens.accept('(') {
        return Ok(Operand::List(list(tokens, ')')?));
    }
    if tokens.accept('[') {
        let address = address(tokens)?;
        // `[a, {b}]` of textures and tensors: no instruction here has it, but its line is to be named with the others.
        return if tokens.accept(',') { Ok(Operand::List(list(tokens, ']')?)) } else { tokens.expect(']').map(|()| address) };
    }
    if tokens.accept('!') {
        return Ok(Operand::Not(tokens.word()?));
    }
    let negative = tokens.accept('-');
    match tokens.next()? {
        Token::Integer(value) => Ok(Operand::Integer(if negative { -i128::from(value) } else { i128::from(value) })),
        Token::F32(bits) => Ok(Operand::F32(bits ^ (u32::from(negative) << 31))),
        Token::F64(bits) => Ok(Operand::F64(bits ^ (u64::from(negative) << 63))),
        Token::Word(word) if !negative => {
            if tokens.accept('|') {
                return Ok(Operand::Pair(word, tokens.word()?));
            }
            if matches!(tokens.peek(), Some(Token::Mark('+' | '-'))) {
                return Ok(Operand::Offset(word, tokens.plus()?));
            }
            Ok(Operand::Name(word))
        }
        Token::Word(_) | Token::Text(_) | Token::Mark(_) => Err(LoadError::syntax(line, "an operand is expected")),
    }
}

fn list(tokens: &mut Tokens<'_>, end: char) -> Result<Vec<Operand>, LoadError> {
    let mut operands = Vec::new();
    while !tokens.accept(end) {
        operands.push(operand(tokens)?);
        if !tokens.accept(',') && tokens.peek() != Some(&Token::Mark(end)) {
            return Err(LoadError::syntax(tokens.line(), "`,` is expected in a list"));
        }
    }
    Ok(operands)
}

fn address(tokens: &mut Tokens<'_>) -> Result<Operand, LoadError> {
    let address = match tokens.peek() {
        Some(Token::Word(_)) => {
            let base = tokens.word()?;
            Operand::Address(Some(base), tokens.plus()?)
        }
        _ => {
            let negative = tokens.accept('-');
            let value = tokens.integer()? as i64;
            Operand::Address(None, if negative { value.wrapping_neg() } else { value })
        }
    };
    Ok(address)
}
