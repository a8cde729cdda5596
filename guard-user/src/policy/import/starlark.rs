//! The little of Starlark that rules files consist of: calls with named arguments, strings and lists.
//!
//! What else the language has is refused with its place, not guessed at: a rule that was half understood would be
//! worse than none.

use super::Refusal;

/// Deepest nesting of lists.
const MAX_DEPTH: usize = 8;

/// A call, as in `prefix_rule(pattern = ["git", "push"])`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub name: String,
    /// Its line and column.
    pub place: (usize, usize),
    /// Its arguments by name, in order.
    pub arguments: Vec<(String, Located)>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    pub value: Value,
    pub place: (usize, usize),
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    List(Vec<Located>),
    /// `None`: as if the argument weren't there.
    Nothing,
}

/// The calls of a file.
pub fn read(text: &str) -> Result<Vec<Call>, Refusal> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1, column: 1 };
    let mut calls = Vec::new();
    loop {
        reader.blanks();
        while reader.eat(';') {
            reader.blanks();
        }
        if reader.rest.is_empty() {
            return Ok(calls);
        }
        calls.push(reader.call()?);
    }
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        (self.line, self.column) = if character == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(character)
    }

    fn eat(&mut self, character: char) -> bool {
        let found = self.peek() == Some(character);
        if found {
            self.next();
        }
        found
    }

    fn eat_all(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            for _ in text.chars() {
                self.next();
            }
        }
        found
    }

    /// Blanks, line ends and comments.
    fn blanks(&mut self) {
        while let Some(character) = self.peek() {
            if character == '#' {
                while self.peek().is_some_and(|character| character != '\n') {
                    self.next();
                }
            } else if character.is_ascii_whitespace() {
                self.next();
            } else if !self.eat_all("\\\n") {
                break;
            }
        }
    }

    fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    fn refuse<T>(&self, expected: &str) -> Result<T, Refusal> {
        let word: String = self.rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').take(40).collect();
        let shown = if word.is_empty() { self.rest.chars().take(1).collect() } else { word };
        let found = match shown.as_str() {
            "" => "the end of the file".to_owned(),
            shown => format!("`{}`", shown.replace(char::is_control, "\u{fffd}")),
        };
        refuse(self.place(), format!("expected {expected}, found {found}"))
    }

    fn name(&mut self, expected: &str) -> Result<String, Refusal> {
        let name: String = self.rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.refuse(expected);
        }
        self.eat_all(&name);
        Ok(name)
    }

    fn call(&mut self) -> Result<Call, Refusal> {
        const EXPECTED: &str = "a call such as `prefix_rule(...)`; guard reads no other statements";
        let place = self.place();
        let name = self.name(EXPECTED)?;
        self.blanks();
        if !self.eat('(') {
            return refuse(place, format!("expected {EXPECTED}, found `{name}`"));
        }
        let mut arguments: Vec<(String, Located)> = Vec::new();
        loop {
            self.blanks();
            if self.eat(')') {
                return Ok(Call { name, place, arguments });
            }
            let place = self.place();
            let argument = self.name("an argument with its name, such as `pattern = [...]`")?;
            self.blanks();
            if !self.eat('=') {
                return self.refuse(&format!("`=` after the argument's name `{argument}`"));
            }
            if arguments.iter().any(|(other, _)| *other == argument) {
                return refuse(place, format!("the argument `{argument}` stands there twice"));
            }
            self.blanks();
            arguments.push((argument, self.value(0)?));
            self.blanks();
            if !self.eat(',') && self.peek() != Some(')') {
                return self.refuse("`,` or `)` after the argument");
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Located, Refusal> {
        const EXPECTED: &str = "a string, a list or `None`; guard works nothing out";
        let place = self.place();
        let value = match self.peek() {
            Some('"' | '\'') => Value::Text(self.string(false)?),
            Some('r') if self.rest.starts_with("r\"") || self.rest.starts_with("r'") => {
                self.next();
                Value::Text(self.string(true)?)
            }
            Some('[') if depth < MAX_DEPTH => Value::List(self.list(depth)?),
            Some('N') if self.eat_all("None") => Value::Nothing,
            _ => return self.refuse(EXPECTED),
        };
        Ok(Located { value, place })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Located>, Refusal> {
        self.next();
        let mut values = Vec::new();
        loop {
            self.blanks();
            if self.eat(']') {
                return Ok(values);
            }
            values.push(self.value(depth + 1)?);
            self.blanks();
            if !self.eat(',') && self.peek() != Some(']') {
                return self.refuse("`,` or `]` in the list");
            }
        }
    }

    fn string(&mut self, raw: bool) -> Result<String, Refusal> {
        let begin = self.place();
        let unclosed = || Refusal { place: Some(begin), what: "the string is never closed".to_owned() };
        let quote = self.next().ok_or_else(unclosed)?;
        let two = quote.to_string().repeat(2);
        let long = self.eat_all(&two);
        let mut text = String::new();
        loop {
            let place = self.place();
            match self.next().ok_or_else(unclosed)? {
                character if character == quote && (!long || self.eat_all(&two)) => return Ok(text),
                '\n' if !long => return Err(unclosed()),
                '\\' if raw => {
                    text.push('\\');
                    text.push(self.next().ok_or_else(unclosed)?);
                }
                '\\' => match self.next().ok_or_else(unclosed)? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    same @ ('\\' | '\'' | '"') => text.push(same),
                    '\n' => {}
                    other => {
                        return refuse(place, format!("guard does not know the escape `\\{}`", other.escape_debug()));
                    }
                },
                character => text.push(character),
            }
        }
    }
}

fn refuse<T>(place: (usize, usize), what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { place: Some(place), what: what.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read(text).expect_err(text).to_string()
    }

    #[test]
    fn calls_are_read() {
        let text =
            "# rules\r\nf(a = 'x\\n', b=[\"y\", ['z'],], # why\n c = '''l'o\nng''', d = r\"\\d\", e=None,)\n; g()";
        let calls = read(text).expect("understood");
        assert_eq!((calls.len(), calls[1].name.as_str(), calls[1].place), (2, "g", (5, 3)));
        let values: Vec<&Value> = calls[0].arguments.iter().map(|(_, located)| &located.value).collect();
        assert_eq!(*values[0], Value::Text("x\n".to_owned()));
        assert!(matches!(values[1], Value::List(list) if list.len() == 2));
        assert_eq!(*values[2], Value::Text("l'o\nng".to_owned()));
        assert_eq!(*values[3], Value::Text("\\d".to_owned()));
        assert_eq!(*values[4], Value::Nothing);
        assert_eq!(read("f(a='', b=\"\")").expect("understood")[0].arguments.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        assert_eq!(
            error("\nX = 1"),
            "2:1: expected a call such as `prefix_rule(...)`; guard reads no other statements, found `X`"
        );
        assert_eq!(error("f(a = X)"), "1:7: expected a string, a list or `None`; guard works nothing out, found `X`");
        assert_eq!(error("f('a')"), "1:3: expected an argument with its name, such as `pattern = [...]`, found `'`");
        assert_eq!(error("f(a = 'b' + 'c')"), "1:11: expected `,` or `)` after the argument, found `+`");
        assert_eq!(error("f(a = ['b' 'c'])"), "1:12: expected `,` or `]` in the list, found `'`");
        assert_eq!(error("f(a = 'b\n')"), "1:7: the string is never closed");
        assert_eq!(error("f(a = '\\q')"), "1:8: guard does not know the escape `\\q`");
        assert_eq!(error("f(a = 'b', a = 'c')"), "1:12: the argument `a` stands there twice");
        assert_eq!(
            error("f("),
            "1:3: expected an argument with its name, such as `pattern = [...]`, found the end of the file"
        );
        let deep = format!("f(a = {}", "[".repeat(100_000));
        assert!(error(&deep).contains("expected a string"));
    }
}
