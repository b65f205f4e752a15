use crate::{Node, binary};
use serde::{Deserialize, Serialize};
use std::fmt;
use types::Bytes;

/// Named contributors of a part that is too large.
const NAMED: usize = 10;

/// The limit of a part of an image, and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The part.
    pub name: String,
    /// The place of the limit, `hv/kvm.yml:7:10`.
    pub place: String,
    /// The limit.
    pub limit: Bytes,
    /// The bytes that the image stores for the part.
    pub size: Bytes,
}

impl Budget {
    /// The rest of the limit; 0 for a part over it.
    #[must_use]
    pub const fn headroom(&self) -> Bytes {
        Bytes(self.limit.0.saturating_sub(self.size.0))
    }

    /// Whether the part is too large.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.size > self.limit
    }

    /// The part with its contributors, if it is too large.
    ///
    /// # Errors
    /// [`OverBudget`]
    pub fn check(&self, part: &Node) -> Result<(), OverBudget> {
        if !self.is_over() {
            return Ok(());
        }
        Err(OverBudget { budget: self.clone(), largest: largest(part) })
    }
}

/// The contributors of a part, for its error.
pub(crate) fn largest(part: &Node) -> Vec<(String, Bytes)> {
    part.contributors(NAMED).into_iter().map(|(path, node)| (path, node.stored)).collect()
}

/// A part is larger than its budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OverBudget {
    /// The part and its limit.
    pub budget: Budget,
    /// Its contributors, the largest first.
    pub largest: Vec<(String, Bytes)>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { name, place, limit, size } = &self.budget;
        let excess = Bytes(size.0 - limit.0);
        writeln!(f, "{place}: `{name}` is over its budget by {}", binary(excess))?;
        write!(f, "  it takes {}, and may take {}; its largest parts:", binary(*size), binary(*limit))?;
        for (path, stored) in &self.largest {
            write!(f, "\n  {:>10}  {path}", binary(*stored))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, tree::tests::sample};

    fn budget(limit: u64) -> Budget {
        Budget { name: "store".into(), place: "hv/kvm.yml:7:10".into(), limit: Bytes(limit), size: Bytes(1200) }
    }

    #[test]
    fn a_part_that_is_as_large_as_its_budget_is_not_over_it() {
        let tree = sample();
        let store = tree.find(Kind::Partition, "store").expect("it is there");
        assert_eq!(budget(1200).check(store), Ok(()));
        assert_eq!(budget(1300).headroom(), Bytes(100));
        assert!(budget(1199).check(store).is_err());
    }

    #[test]
    fn the_error_names_place_size_budget_excess_and_the_largest_parts() {
        let tree = sample();
        let store = tree.find(Kind::Partition, "store").expect("it is there");
        let text = budget(1000).check(store).expect_err("it is over").to_string();
        assert_eq!(
            text,
            "hv/kvm.yml:7:10: `store` is over its budget by 200 B\n  \
             it takes 1.2 KiB, and may take 1000 B; its largest parts:\n       \
             700 B  base › bash\n       \
             320 B  base › curl\n       \
             100 B  documents and file system\n        \
             80 B  base › file system"
        );
    }
}
