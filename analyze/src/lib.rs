//! Outcomes to comparison, statistics, report and gate.
