//! The tree as text for people.

use crate::{Fit, Node, Report, verdict};
use std::fmt::Write as _;
use types::Bytes;

/// The shown part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Levels below the image.
    pub levels: usize,
    /// Parts of one whole; the others are one line.
    pub parts: usize,
}

/// A size in the binary units of budgets and partitions.
#[must_use]
pub fn binary(size: Bytes) -> String {
    match size.0 {
        n if n < 1 << 10 => format!("{n} B"),
        n if n < 1 << 20 => format!("{:.1} KiB", n as f64 / 1024.0),
        n if n < 1 << 30 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n => format!("{:.2} GiB", n as f64 / f64::from(1 << 30)),
    }
}

/// The tree, largest first, and the budgets.
#[must_use]
pub fn text(report: &Report, depth: Depth) -> String {
    let mut out = String::from("    stored       plain   share\n");
    let title = Node { name: report.version.clone(), ..report.tree.clone() };
    lines(&mut out, &title, title.stored, 0, depth);
    // String's fmt::Write cannot fail
    let _ = writeln!(out, "\n    stored      budget    left");
    for budget in &report.budgets {
        let left = if budget.is_over() {
            format!("OVER by {}", binary(Bytes(budget.size.0 - budget.limit.0)))
        } else {
            binary(budget.headroom())
        };
        let _ = writeln!(out, "{:>10}  {:>10}  {left:>10}  {}", binary(budget.size), binary(budget.limit), budget.name);
    }
    let _ = writeln!(out, "\n{}", verdict(&report.fits));
    for Fit { layout, summary, parts, .. } in &report.fits {
        let parts: Vec<String> = parts.iter().map(|p| format!("{} {}", p.part, p.margin())).collect();
        let _ = writeln!(out, "{layout:>13}: {}  ({summary})", parts.join(", "));
    }
    out
}

fn lines(out: &mut String, node: &Node, whole: Bytes, level: usize, depth: Depth) {
    let note = node.note.as_ref().map(|n| format!("  ({n})")).unwrap_or_default();
    line(out, node.stored, node.plain, whole, level, &format!("{}{note}", node.name));
    if level >= depth.levels {
        return;
    }
    // one line for a single other part would save no line
    let shown = if node.children.len() <= depth.parts + 1 { node.children.len() } else { depth.parts };
    let (shown, others) = node.children.split_at(shown);
    shown.iter().for_each(|child| lines(out, child, whole, level + 1, depth));
    if !others.is_empty() {
        let (stored, plain) = (others.iter().map(|n| n.stored).sum(), others.iter().map(|n| n.plain).sum());
        line(out, stored, plain, whole, level + 1, &format!("… {} more", others.len()));
    }
}

fn line(out: &mut String, stored: Bytes, plain: Bytes, whole: Bytes, level: usize, name: &str) {
    let share = stored.0 as f64 * 100.0 / whole.0.max(1) as f64;
    let _ = writeln!(
        out,
        "{:>10}  {:>10}  {share:>4.1} %  {:width$}{name}",
        binary(stored),
        binary(plain),
        "",
        width = level * 2
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Budget, tree::tests::sample};

    #[test]
    fn the_largest_come_first_and_the_small_ones_together() {
        let budget = |name: &str, limit, size| Budget {
            name: name.into(),
            place: "hv/kvm.yml:7".into(),
            limit: Bytes(limit),
            size: Bytes(size),
        };
        let budgets = vec![budget("store", 2000, 1200), budget("esp", 400, 500)];
        let report = Report {
            format: 1,
            version: "0.1.0-kvm-amd64".into(),
            budgets,
            fits: vec![],
            must_fit: vec![],
            tree: sample(),
        };
        let expected = "    \
stored       plain   share
   1.7 KiB     3.5 KiB  100.0 %  0.1.0-kvm-amd64
   1.2 KiB     3.0 KiB  70.6 %    store
   1.1 KiB     3.0 KiB  64.7 %      base
   1.1 KiB     3.0 KiB  64.7 %        base
     700 B     2.1 KiB  41.2 %          bash
     400 B       960 B  23.5 %          … 2 more
     100 B         0 B   5.9 %      documents and file system
     500 B       500 B  29.4 %    esp

    stored      budget    left
   1.2 KiB     2.0 KiB       800 B  store
     500 B       400 B  OVER by 100 B  esp

there are no slots of EVE to fit
";
        assert_eq!(text(&report, Depth { levels: 4, parts: 1 }), expected);
    }
}
