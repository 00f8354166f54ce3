//! Topic patterns: `*` stands for one segment, `>` for the rest, commas separate alternatives.

/// A set of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    alternatives: Vec<Vec<String>>,
}

impl Pattern {
    /// Reads `nav.*,host.>`; empty alternatives are left out.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let alternatives = text.split(',').map(str::trim).filter(|a| !a.is_empty());
        Self { alternatives: alternatives.map(|a| a.split('.').map(str::to_owned).collect()).collect() }
    }

    /// Whether nothing can match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Whether a topic belongs to the set.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.alternatives.iter().any(|pattern| {
            let mut segments = topic.split('.');
            for part in pattern {
                match (part.as_str(), segments.next()) {
                    (">", Some(_)) => return true,
                    ("*", Some(_)) => {}
                    (part, Some(segment)) if part == segment => {}
                    _ => return false,
                }
            }
            segments.next().is_none()
        })
    }

    /// The alternatives without wildcards, which must exist.
    pub fn literals(&self) -> impl Iterator<Item = String> {
        self.alternatives.iter().filter(|a| !a.iter().any(|p| p == "*" || p == ">")).map(|a| a.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_pattern_and_its_literals_belong_to_it(text in "[a-c.*>, é]{0,40}", topic in "[a-c.*>]{0,12}") {
            let pattern = Pattern::new(&text);
            prop_assert!(!(pattern.matches(&topic) && pattern.is_empty()));
            for literal in pattern.literals() {
                prop_assert!(pattern.matches(&literal), "{literal}");
            }
        }
    }

    #[test]
    fn wildcards_stand_for_one_segment_or_the_rest() {
        for (pattern, topic, expected) in [
            ("nav.state", "nav.state", true),
            ("nav.*", "nav.state", true),
            ("nav.*", "nav.state.raw", false),
            ("nav.>", "nav.state.raw", true),
            ("nav.>", "nav", false),
            (">", "host.cpu", true),
            ("host.cpu, nav.*", "nav.imu", true),
            ("", "nav.imu", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(topic), expected, "{pattern} on {topic}");
        }
    }
}
