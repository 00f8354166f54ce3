//! Filters over payload fields: `position_ned_m.2 < -1 && (mode == "running" || !valid)`.
//!
//! Grammar: `or := and ("||" and)*`, `and := not ("&&" not)*`, `not := "!" not | "(" or ")" | value (op value)?`,
//! `value := path | number | string | true | false | null`, `path := name ("." (name | index))*`.
//! A missing field is `null`; comparing different kinds is false, so a filter never fails on data.

use std::cmp::Ordering;

use serde_json::Value;

/// Longest filter, bytes.
const LONGEST: usize = 1024;
/// Deepest nesting.
const DEEPEST: usize = 32;

/// A filter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at byte {at}: expected {expected}, such as `height_m > 1.5 && mode == \"running\"`")]
pub struct FilterError {
    /// Byte offset in the text.
    pub at: usize,
    /// What would have been understood there.
    pub expected: &'static str,
}

/// A condition on a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Or(Vec<Node>),
    And(Vec<Node>),
    Not(Box<Node>),
    Is(Operand),
    Compare(Operand, Operator, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<String>),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] with the place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError { at: text.floor_char_boundary(LONGEST), expected: "at most 1024 bytes" });
        }
        let mut parser = Parser { text, at: 0 };
        let node = parser.or(0)?;
        parser.skip_blanks();
        if parser.at < text.len() {
            return Err(parser.expected("`&&`, `||` or the end"));
        }
        Ok(Self(node))
    }

    /// Whether a payload fits.
    #[must_use]
    pub fn accepts(&self, payload: &Value) -> bool {
        accepts(&self.0, payload)
    }
}

fn accepts(node: &Node, payload: &Value) -> bool {
    match node {
        Node::Or(nodes) => nodes.iter().any(|n| accepts(n, payload)),
        Node::And(nodes) => nodes.iter().all(|n| accepts(n, payload)),
        Node::Not(node) => !accepts(node, payload),
        Node::Is(operand) => match value(operand, payload) {
            Value::Null | Value::Bool(false) => false,
            Value::Number(n) => n.as_f64() != Some(0.0),
            Value::String(s) => !s.is_empty(),
            _ => true,
        },
        Node::Compare(left, operator, right) => {
            let (left, right) = (value(left, payload), value(right, payload));
            match operator {
                Operator::Equal => equal(left, right),
                Operator::NotEqual => !equal(left, right),
                Operator::Less => order(left, right) == Some(Ordering::Less),
                Operator::Greater => order(left, right) == Some(Ordering::Greater),
                Operator::LessOrEqual => matches!(order(left, right), Some(Ordering::Less | Ordering::Equal)),
                Operator::GreaterOrEqual => matches!(order(left, right), Some(Ordering::Greater | Ordering::Equal)),
            }
        }
    }
}

fn value<'a>(operand: &'a Operand, payload: &'a Value) -> &'a Value {
    match operand {
        Operand::Value(value) => value,
        Operand::Path(path) => path
            .iter()
            .try_fold(payload, |value, key| match value {
                Value::Object(fields) => fields.get(key),
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                _ => None,
            })
            .unwrap_or(&Value::Null),
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    order(left, right).map_or(left == right, |order| order == Ordering::Equal)
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => l.as_f64()?.partial_cmp(&r.as_f64()?),
        (Value::String(l), Value::String(r)) => Some(l.cmp(r)),
        _ => None,
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError { at: self.at, expected }
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn or(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.and(depth)?];
        while self.take("||") {
            nodes.push(self.and(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Or(nodes) })
    }

    fn and(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.not(depth)?];
        while self.take("&&") {
            nodes.push(self.not(depth)?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::And(nodes) })
    }

    fn not(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > DEEPEST {
            return Err(self.expected("at most 32 levels of nesting"));
        }
        self.skip_blanks();
        if !self.rest().starts_with("!=") && self.take("!") {
            return Ok(Node::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let node = self.or(depth + 1)?;
            return if self.take(")") { Ok(node) } else { Err(self.expected("`)`")) };
        }
        let left = self.operand()?;
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        for (token, operator) in operators {
            if self.take(token) {
                return Ok(Node::Compare(left, operator, self.operand()?));
            }
        }
        Ok(Node::Is(left))
    }

    fn operand(&mut self) -> Result<Operand, FilterError> {
        self.skip_blanks();
        let rest = self.rest();
        match rest.chars().next() {
            Some('"') => self.string(),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let number: f64 = rest[..end].parse().map_err(|_| self.expected("a number"))?;
                self.at += end;
                Ok(Operand::Value(Value::from(number)))
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let word = &rest[..end];
                if word.split('.').any(str::is_empty) {
                    return Err(self.expected("a field after the dot"));
                }
                self.at += end;
                Ok(match word {
                    "true" => Operand::Value(Value::Bool(true)),
                    "false" => Operand::Value(Value::Bool(false)),
                    "null" => Operand::Value(Value::Null),
                    path => Operand::Path(path.split('.').map(str::to_owned).collect()),
                })
            }
            _ => Err(self.expected("a field, a number or a \"text\"")),
        }
    }

    /// A JSON string.
    fn string(&mut self) -> Result<Operand, FilterError> {
        let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value @ Value::String(_))) => {
                self.at += stream.byte_offset();
                Ok(Operand::Value(value))
            }
            _ => Err(self.expected("a closing quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn conditions_hold_as_they_read() {
        let payload =
            json!({ "height_m": 1.7, "mode": "running", "p": [1.0, 2.0, -17.5], "ok": true, "s": { "n": 3 } });
        for (text, expected) in [
            ("height_m > 1.5", true),
            ("height_m > 1.5 && mode == \"running\"", true),
            ("height_m < 1.5 || p.2 < -17", true),
            ("!(ok && s.n >= 3)", false),
            ("missing == null", true),
            ("missing > 1", false),
            ("mode != \"a b\"", true),
            ("mode < 3", false),
            ("ok", true),
            ("s.n == 3.0", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().accepts(&payload), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_byte() {
        assert_eq!(Filter::parse("a >").unwrap_err().at, 3);
        assert_eq!(Filter::parse("(a").unwrap_err().at, 2);
        assert_eq!(Filter::parse("a b").unwrap_err().at, 2);
        assert!(Filter::parse(&"(".repeat(100)).is_err());
        // The limit lies inside the 342nd of these characters of three bytes.
        assert_eq!(Filter::parse(&"€".repeat(400)).unwrap_err().at, 1023);
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_refusal(text in "[a-z0-9.()!&|<>=\" \\\\-]{0,60}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.accepts(&json!({ "a": 1 }));
            }
        }
    }
}
