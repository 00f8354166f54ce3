//! Search attributes: what runs are found by. They are part of the history, so they last, and replay gives the same.
//!
//! The words are Temporal's (docs.temporal.io, "Search Attributes"): keyword, keyword list, int, double, bool. A type is that of the JSON value.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Most attributes of a run.
pub const ATTRIBUTES_MAX: usize = 32;
/// Longest name, bytes: letters, digits, `_`, `-` and `.`.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Longest keyword, bytes; a list has as many in all.
pub const KEYWORD_BYTES_MAX: usize = 1024;
/// Most conditions of a filter.
const CONDITIONS_MAX: usize = 32;

/// The attributes of a run by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// A value that runs are found by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Double(f64),
    /// A word, compared as a whole.
    Keyword(String),
    /// Words; a condition on one of them is enough.
    Keywords(Vec<String>),
}

macro_rules! from {
    ($($of:ty => $variant:ident),*) => {$(
        impl From<$of> for Attribute {
            fn from(value: $of) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, f64 => Double, &str => Keyword, String => Keyword, Vec<String> => Keywords);

impl Attribute {
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Keyword(one), Self::Keyword(other)) => Some(one.cmp(other)),
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => {
                self.number().partial_cmp(&other.number())
            }
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "beside a double, a whole number is one")]
    fn number(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Double(number) => *number,
            _ => f64::NAN,
        }
    }
}

/// Checks names, values and their number.
///
/// # Errors
/// What is outside its limit.
pub(crate) fn check<'a>(
    attributes: impl IntoIterator<Item = (&'a String, Option<&'a Attribute>)>,
) -> Result<(), String> {
    let mut count = 0;
    for (name, value) in attributes {
        count += 1;
        if !is_name(name) {
            let name: String = name.chars().take(ATTRIBUTE_NAME_BYTES_MAX).collect();
            return Err(format!(
                "`{name}` is no name of a search attribute: 1 to {ATTRIBUTE_NAME_BYTES_MAX} letters, digits, `_`, `-` and `.`"
            ));
        }
        let bytes = match value {
            Some(Attribute::Keyword(word)) => word.len(),
            Some(Attribute::Keywords(words)) => words.iter().map(String::len).sum(),
            Some(Attribute::Double(number)) if !number.is_finite() => {
                return Err(format!("search attribute `{name}` = {number} is no finite number"));
            }
            _ => 0,
        };
        if bytes > KEYWORD_BYTES_MAX {
            return Err(format!("search attribute `{name}` has {bytes} bytes, at most {KEYWORD_BYTES_MAX} go"));
        }
    }
    if count > ATTRIBUTES_MAX {
        return Err(format!("{count} search attributes are more than {ATTRIBUTES_MAX}"));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= ATTRIBUTE_NAME_BYTES_MAX && name.chars().all(is_fit)
}

/// Takes changes in: nothing removes an attribute.
pub(crate) fn upsert(attributes: &mut Attributes, changes: &BTreeMap<String, Option<Attribute>>) {
    for (name, value) in changes {
        match value {
            Some(value) => _ = attributes.insert(name.clone(), value.clone()),
            None => _ = attributes.remove(name),
        }
    }
}

/// What a run's attributes must be like: conditions such as `customer = "acme"`, `amount >= 100`, all of which hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeFilter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    name: String,
    comparison: Comparison,
    value: Attribute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// The longer ones first, since `<` begins `<=`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{condition}` is no condition: {reason}; write NAME=VALUE with =, !=, <, <=, > or >=, such as amount>=100 or customer=\"acme\""
)]
pub struct BadFilter {
    condition: String,
    reason: String,
}

impl AttributeFilter {
    /// The filter of these conditions. A value is JSON, or else the word that it is.
    ///
    /// # Errors
    /// The first condition that cannot be read.
    pub fn parse<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Result<Self, BadFilter> {
        let parsed: Vec<Condition> = conditions.into_iter().map(condition).collect::<Result<_, _>>()?;
        if parsed.len() > CONDITIONS_MAX {
            let reason = format!("{} conditions are more than {CONDITIONS_MAX}", parsed.len());
            return Err(BadFilter { condition: "…".into(), reason });
        }
        Ok(Self(parsed))
    }

    /// Whether all conditions hold. One on an attribute that is not there, or of another type, does not.
    #[must_use]
    pub fn fits(&self, attributes: &Attributes) -> bool {
        self.0.iter().all(|condition| attributes.get(&condition.name).is_some_and(|value| condition.holds(value)))
    }
}

fn condition(text: &str) -> Result<Condition, BadFilter> {
    let bad = |reason: String| BadFilter { condition: text.chars().take(200).collect(), reason };
    let at = text.find(['=', '!', '<', '>']).ok_or_else(|| bad("it compares nothing".into()))?;
    let (name, rest) = text.split_at(at);
    let found = COMPARISONS.iter().find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)));
    let (comparison, value) = found.ok_or_else(|| bad("it compares nothing".into()))?;
    let (name, value) = (name.trim(), value.trim());
    if !is_name(name) {
        return Err(bad(format!("`{name}` is no name")));
    }
    let value = match serde_json::from_str(value) {
        Ok(Attribute::Keywords(_)) => return Err(bad("a list is compared with one word".into())),
        Ok(value) => value,
        Err(_) if value.starts_with('"') || value.is_empty() => return Err(bad(format!("`{value}` is no value"))),
        Err(_) => Attribute::Keyword(value.to_owned()),
    };
    Ok(Condition { name: name.to_owned(), comparison, value })
}

impl Condition {
    fn holds(&self, value: &Attribute) -> bool {
        if let Attribute::Keywords(words) = value {
            let has = |comparison: Comparison| {
                let one = |word: &String| comparison.holds(Attribute::Keyword(word.clone()).compare(&self.value));
                words.iter().any(one)
            };
            // None of the words is it, not: some word is another one.
            return match self.comparison {
                Comparison::Unequal => !has(Comparison::Equal),
                other => has(other),
            };
        }
        self.comparison.holds(value.compare(&self.value))
    }
}

impl Comparison {
    fn holds(self, order: Option<Ordering>) -> bool {
        let Some(order) = order else { return false };
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_by_type_and_all_must_hold() {
        let attributes: Attributes = serde_json::from_str(
            r#"{"customer":"acme","amount":150,"share":0.5,"is_vip":true,"tags":["red","blue"],"order.id":"7"}"#,
        )
        .unwrap();
        for (fits, conditions) in [
            (true, vec![]),
            (true, vec!["customer=acme", "amount>=150", "share<0.6", "is_vip=true"]),
            (true, vec![r#"customer = "acme""#, "amount = 150.0", "amount > 149.5", "customer != other"]),
            (true, vec!["tags=red", "tags=blue", "tags!=green", r#"order.id="7""#]),
            (false, vec!["customer=acme", "amount>150"]),
            (false, vec!["tags!=red"]),
            (false, vec!["order.id=7"]),
            (false, vec!["amount=acme"]),
            (false, vec!["amount!=acme"]),
            (false, vec!["missing!=1"]),
            (false, vec!["customer<acme"]),
        ] {
            let filter = AttributeFilter::parse(conditions.iter().copied()).unwrap();
            assert_eq!(filter.fits(&attributes), fits, "{conditions:?}");
        }
        for (bad, reason) in [
            ("customer", "compares nothing"),
            ("customer!acme", "compares nothing"),
            ("=acme", "`` is no name"),
            ("a b=1", "`a b` is no name"),
            ("customer=", "`` is no value"),
            (r#"customer="acme"#, "is no value"),
            (r#"tags=["red"]"#, "compared with one word"),
        ] {
            let error = AttributeFilter::parse([bad]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn what_is_outside_the_limits_is_named() {
        let bad = |name: &str, value: Attribute| {
            let attributes = Attributes::from([(name.to_owned(), value)]);
            check(attributes.iter().map(|(name, value)| (name, Some(value)))).unwrap_err()
        };
        assert!(bad("", true.into()).contains("1 to 64"));
        assert!(bad("with space", true.into()).contains("`with space`"));
        assert!(bad("word", "x".repeat(1025).into()).contains("1025 bytes"));
        assert!(bad("number", f64::NAN.into()).contains("NaN"));
        let many: Attributes = (0..33).map(|n| (format!("a{n}"), n.into())).collect();
        assert!(check(many.iter().map(|(name, value)| (name, Some(value)))).unwrap_err().contains("33"));
    }
}
