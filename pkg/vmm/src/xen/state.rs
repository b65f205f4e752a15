//! Whether a domain runs, out of `xl list -v` (Xen, `xl(1)`).

use crate::hypervisor::End;

/// A domain's state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Ended(End),
}

impl State {
    /// Reads the table of one domain: headings, then name, id, memory, processors, state, time, UUID, reason. A name has no
    /// blanks.
    pub(super) fn of(table: &str) -> Self {
        let mut lines = table.lines();
        let heading = lines.next().unwrap_or_default();
        let Some(fields) = lines.next().map(|l| l.split_whitespace().collect::<Vec<_>>()) else {
            return Self::Ended(End::Failed("its domain was destroyed".to_owned()));
        };
        let (Some(state), true) = (fields.get(4), heading.contains("Reason-Code")) else {
            return Self::Ended(End::Failed(format!("Xen says of its domain: {table}")));
        };
        // running, blocked, paused, shut down, crashed, dying: each has its place
        if !state.contains(['s', 'c', 'd']) {
            return Self::Running;
        }
        // (Xen, public/sched.h, SHUTDOWN_*)
        Self::Ended(match fields.get(7).copied() {
            Some("0") => End::Off,
            Some("1") => End::Failed("restarted the machine".to_owned()),
            Some("2") => End::Failed("suspended the machine".to_owned()),
            Some("3") => End::Failed("its kernel panicked".to_owned()),
            Some("4") => End::Failed("its watchdog has bitten".to_owned()),
            reason => End::Failed(format!("ended for reason {}", reason.unwrap_or("-"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "Name ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n";

    fn of(state: &str, reason: &str) -> State {
        let uuid = "073ec48b-047b-4a5d-aacf-f029c92397ea";
        State::of(&format!(
            "{HEADING}web   1   192     1     {state}       6.9 {uuid}        {reason}                -\n"
        ))
    }

    // the table is Xen 4.20's
    #[test]
    fn a_domain_runs_until_it_is_shut_down() {
        for state in ["r-----", "-b----", "--p---", "------"] {
            assert_eq!(of(state, "-"), State::Running, "{state}");
        }
        assert_eq!(of("---s--", "0"), State::Ended(End::Off));
        let failed = |text: &str| State::Ended(End::Failed(text.to_owned()));
        assert_eq!(of("---s--", "1"), failed("restarted the machine"));
        assert_eq!(of("----c-", "3"), failed("its kernel panicked"));
        assert_eq!(of("-----d", "-"), failed("ended for reason -"));
        assert_eq!(State::of(HEADING), failed("its domain was destroyed"));
        assert!(matches!(State::of("Name ID\nweb 1 192 1 r----- 6.9\n"), State::Ended(End::Failed(_))));
    }
}
