//! Medians, ratios and verdicts. Pure.
use serde::Serialize;

/// How far two instances of the same may differ.
const TRUSTED: f64 = 1.10;

/// The middle one; of an even number the mean of the two. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// `again`: the same against itself, if that was measured. Where it is off, the machine was too noisy to say anything.
pub fn verdict(figure: f64, target: Target, again: Option<f64>) -> String {
    match again {
        Some(again) if !(1.0 / TRUSTED..=TRUSTED).contains(&again) => format!("no verdict: A/A is {again:.2}"),
        _ if target.is_met(figure) => "pass".to_owned(),
        _ => "MISS".to_owned(),
    }
}

/// For people: 1,234,567 or 12.3.
pub fn number(value: f64) -> String {
    if value.abs() < 1000.0 {
        return if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_noisy_machine_gives_no_verdict() {
        assert_eq!(verdict(0.95, Target::AtLeast(0.9), Some(1.05)), "pass");
        assert_eq!(verdict(0.85, Target::AtLeast(0.9), None), "MISS");
        assert_eq!(verdict(2.0, Target::AtMost(2.0), Some(0.95)), "pass");
        assert_eq!(verdict(2.1, Target::AtMost(2.0), Some(0.95)), "MISS");
        assert_eq!(verdict(2.0, Target::AtMost(3.0), Some(1.2)), "no verdict: A/A is 1.20");
        assert!(verdict(2.0, Target::AtMost(3.0), Some(f64::NAN)).starts_with("no verdict"));
    }

    #[test]
    fn numbers_are_for_people() {
        let shown: Vec<String> = [0.5, 12.34, 999.9, 1000.0, 1234567.0].map(number).into();
        assert_eq!(shown, ["0.50", "12.3", "999.9", "1,000", "1,234,567"]);
    }
}
