//! Start order: levels by Kahn's algorithm (Kahn, 1962), so that everything starts after what it depends on.

use std::collections::{BTreeMap, BTreeSet};

/// A set of names that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("start dependencies form a cycle: {}", members.join(" → "))]
pub struct CycleError {
    /// The cycle, first member repeated at the end.
    pub members: Vec<String>,
}

/// Groups names into levels: each name is in a later level than everything it depends on; names inside a level start in parallel.
/// Dependencies on unknown names are ignored (they are reported elsewhere).
///
/// # Errors
/// [`CycleError`] naming one cycle.
pub fn start_levels(after: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<Vec<String>>, CycleError> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = after
        .iter()
        .map(|(name, needs)| {
            (name.as_str(), needs.iter().map(String::as_str).filter(|n| after.contains_key(*n)).collect())
        })
        .collect();
    let mut levels = Vec::new();
    while !waiting.is_empty() {
        let level: Vec<String> =
            waiting.iter().filter(|(_, needs)| needs.is_empty()).map(|(name, _)| (*name).to_owned()).collect();
        if level.is_empty() {
            return Err(CycleError { members: find_cycle(&waiting) });
        }
        for name in &level {
            waiting.remove(name.as_str());
            for needs in waiting.values_mut() {
                needs.remove(name.as_str());
            }
        }
        levels.push(level);
    }
    Ok(levels)
}

/// Follows first dependencies until a name repeats; every remaining name has one, so this ends.
pub(super) fn find_cycle(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let Some(mut current) = edges.keys().next().copied() else {
        return Vec::new();
    };
    let mut path: Vec<&str> = Vec::new();
    loop {
        if let Some(start) = path.iter().position(|p| *p == current) {
            let mut members: Vec<String> = path[start..].iter().map(|s| (*s).to_owned()).collect();
            members.push(current.to_owned());
            return members;
        }
        path.push(current);
        match edges.get(current).and_then(|next| next.iter().next()) {
            Some(next) => current = next,
            None => return path.into_iter().map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        edges
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), needs.iter().map(|n| (*n).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn a_diamond_has_levels_of_one_two_one() {
        let levels = start_levels(&graph(&[("d", &["b", "c"]), ("b", &["a"]), ("c", &["a"]), ("a", &[])])).unwrap();
        assert_eq!(levels, [vec!["a"], vec!["b", "c"], vec!["d"]]);
    }

    #[test]
    fn a_cycle_is_refused_with_its_members() {
        let error = start_levels(&graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])])).unwrap_err();
        assert_eq!(error.to_string(), "start dependencies form a cycle: a → b → c → a");
    }

    proptest! {
        #[test]
        fn everything_starts_after_what_it_depends_on(edges in prop::collection::vec((0..12u8, 0..12u8), 0..30)) {
            // Edges from higher to lower numbers only: no cycle.
            let mut after: BTreeMap<String, BTreeSet<String>> = (0..12).map(|n| (n.to_string(), BTreeSet::new())).collect();
            for (a, b) in edges.into_iter().filter(|(a, b)| a > b) {
                after.get_mut(&a.to_string()).unwrap().insert(b.to_string());
            }
            let levels = start_levels(&after).unwrap();
            let level_of = |name: &str| levels.iter().position(|l| l.iter().any(|n| n == name)).unwrap();
            prop_assert_eq!(levels.iter().map(Vec::len).sum::<usize>(), 12);
            for (name, needs) in &after {
                for need in needs {
                    prop_assert!(level_of(name) > level_of(need));
                }
            }
        }
    }
}
