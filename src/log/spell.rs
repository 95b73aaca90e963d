//! Trouble that comes and goes: told when it begins and when it is over, and not each time in between. Pure.
use std::time::Duration;

/// It is over when there was none of it for this long.
const REST: Duration = Duration::from_secs(10);

/// What is known of one kind of trouble.
#[derive(Debug, Default)]
pub struct Spell {
    /// When it was last; `None`: it is over.
    last: Option<Duration>,
    count: u64,
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// It has begun.
    Begun,
    /// It is over, after so many times.
    Over(u64),
}

impl Spell {
    /// Takes in whether there is trouble at `now`, a time since any fixed moment.
    pub fn note(&mut self, trouble: bool, now: Duration) -> Turn {
        if trouble {
            self.count += 1;
            return if self.last.replace(now).is_none() { Turn::Begun } else { Turn::Nothing };
        }
        match self.last {
            Some(last) if now.saturating_sub(last) >= REST => Turn::Over(std::mem::take(self).count),
            _ => Turn::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_its_end_once() {
        let mut spell = Spell::default();
        let mut turns = |seconds: &[(u64, bool)]| -> Vec<Turn> {
            let all = seconds.iter().map(|&(at, trouble)| spell.note(trouble, Duration::from_secs(at)));
            all.filter(|turn| *turn != Turn::Nothing).collect()
        };
        assert_eq!(turns(&[(0, false), (20, false)]), []);
        assert_eq!(turns(&[(21, true), (22, true), (23, false), (30, true), (39, false)]), [Turn::Begun]);
        assert_eq!(turns(&[(40, false), (41, false)]), [Turn::Over(3)]);
        assert_eq!(turns(&[(41, true), (50, true), (59, false), (60, false)]), [Turn::Begun, Turn::Over(2)]);
    }
}
