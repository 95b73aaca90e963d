//! Where values stand on an axis, and which are named there. Pure.

/// From `low` to `high`, on so many pixels.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    begin: f64,
    end: f64,
}

impl Axis {
    /// Holds all values with round ends: powers of ten if logarithmic, else from 0 to a multiple of a round step.
    pub fn holding(values: &[f64], logarithmic: bool, begin: f64, end: f64) -> Option<Self> {
        let most = values.iter().copied().fold(f64::NAN, f64::max);
        let least = values.iter().copied().fold(f64::NAN, f64::min);
        if !(least.is_finite() && most.is_finite() && most > 0.0 && (!logarithmic || least > 0.0)) {
            return None;
        }
        let (low, high) = if logarithmic {
            let (low, high) = (10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()));
            (low, if high > low { high } else { low * 10.0 })
        } else {
            let step = round_step(most);
            (0.0, (most / step).ceil() * step)
        };
        Some(Self { low, high, logarithmic, begin, end })
    }

    /// The pixel of a value.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.begin + share * (self.end - self.begin)
    }

    /// The values that are named, with their names.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = if self.logarithmic {
            let decades = (self.high / self.low).log10().round() as i32;
            (0..=decades).map(|decade| self.low * 10f64.powi(decade)).collect()
        } else {
            let step = round_step(self.high);
            (0..=(self.high / step).round() as i32).map(|number| f64::from(number) * step).collect()
        };
        values.into_iter().map(|value| (value, short(value))).collect()
    }
}

/// 1, 2 or 5 times a power of ten: the least of which at most six reach `most`.
fn round_step(most: f64) -> f64 {
    let power = 10f64.powf((most / 6.0).log10().floor());
    let enough = |factor: &f64| factor * power * 6.000_001 >= most;
    [1.0, 2.0, 5.0].into_iter().find(enough).unwrap_or(10.0) * power
}

/// 20,000 is 20k; 1,500,000 is 1.5M.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let rounded = (scaled * 100.0).round() / 100.0;
    format!("{rounded}{unit}")
}

#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "run by tests/benches.rs; a program without a harness only compiles them")]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_logarithmic_axis_has_decades() {
        let axis = Axis::holding(&[1.0, 10_000.0], true, 0.0, 400.0).unwrap();
        assert_eq!(names(&axis), ["1", "10", "100", "1k", "10k"]);
        assert!((axis.place(100.0) - 200.0).abs() < 1e-6);
        assert!(Axis::holding(&[0.0, 1.0], true, 0.0, 1.0).is_none());
        assert_eq!(names(&Axis::holding(&[1.0], true, 0.0, 1.0).unwrap()), ["1", "10"]);
    }

    #[test]
    fn a_linear_axis_begins_at_0_and_has_round_steps() {
        let axis = Axis::holding(&[130_000.0, 270_000.0], false, 300.0, 0.0).unwrap();
        assert_eq!(names(&axis), ["0", "50k", "100k", "150k", "200k", "250k", "300k"]);
        assert!((axis.place(150_000.0) - 150.0).abs() < 1e-6);
        assert_eq!(names(&Axis::holding(&[2.4], false, 0.0, 1.0).unwrap()), ["0", "0.5", "1", "1.5", "2", "2.5"]);
        assert!(Axis::holding(&[], false, 0.0, 1.0).is_none());
    }
}
