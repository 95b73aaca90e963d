//! Rates: an address that is over its rate is read no further until its time has come. Nothing of it is lost or refused, and
//! TCP makes it wait.
//!
//! Messages are paid for before they are decoded. How much a read will bring is not known, so it is paid for by the size of the
//! last one, and the difference settled afterwards. Who pays stands in line with all connections of its address, of all workers.
use crate::config::Limits;
use crate::ipc::admission::Admission;
use crate::ipc::rates::Kind;
use crate::ipc::visitors::Name;
use std::time::Instant;

/// Payments of messages per second: more than this are paid for in lots.
const PAYMENTS: u32 = 10_000;
/// Parts of a second that one read may take.
const PART: u64 = 8;
const READ_MIN: usize = 256;
const SECOND: u64 = 1_000_000;

/// The rates of an address.
#[derive(Debug)]
pub struct Pace {
    messages: Option<u32>,
    bytes: Option<u64>,
    /// What the board's clock shows when the worker's shows 0.
    begun: u64,
}

/// What a connection has paid for and not taken yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paid {
    messages: u32,
    /// Microseconds, for the next read.
    read: Option<u32>,
    /// Bytes of the last read.
    last: u32,
}

/// What a connection may take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At most so many.
    Now(usize),
    /// It has paid, and waits for so many milliseconds.
    In(u64),
}

impl Pace {
    /// The rates in `limits`, if there are any, for a worker whose clock began at `started`.
    pub fn new(limits: &Limits, admission: &Admission, started: Instant) -> Option<Self> {
        let Limits { max_rate_per_ip: messages, max_byte_rate_per_ip: bytes, .. } = *limits;
        (messages.is_some() || bytes.is_some()).then(|| Self { messages, bytes, begun: admission.clock(started) })
    }

    /// How many messages may be decoded; `now` is the worker's clock, in milliseconds.
    pub fn messages(&self, paid: &mut Paid, name: Name, admission: &Admission, now: u64) -> Turn {
        let Some(rate) = self.messages else { return Turn::Now(usize::MAX) };
        if paid.messages == 0 {
            paid.messages = rate.div_ceil(PAYMENTS);
            let wait =
                admission.ledger(Kind::Messages).pay(name, cost_of_messages(paid.messages, rate), self.clock(now));
            if wait > 0 {
                return Turn::In(wait.div_ceil(1000));
            }
        }
        Turn::Now(paid.messages as usize)
    }

    /// So many of them were.
    pub fn decoded(&self, paid: &mut Paid, count: u64) {
        paid.messages = paid.messages.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// How many bytes may be read at once.
    pub fn bytes(&self, paid: &mut Paid, name: Name, admission: &Admission, now: u64) -> Turn {
        let Some(rate) = self.bytes else { return Turn::Now(usize::MAX) };
        let most = usize::try_from(rate / PART).unwrap_or(usize::MAX).max(READ_MIN);
        if paid.read.is_none() {
            let expected = (paid.last as usize).clamp(READ_MIN.min(most), most);
            let cost = cost_of_bytes(expected, rate);
            paid.read = Some(u32::try_from(cost).unwrap_or(u32::MAX));
            let wait = admission.ledger(Kind::Bytes).pay(name, cost, self.clock(now));
            if wait > 0 {
                return Turn::In(wait.div_ceil(1000));
            }
        }
        Turn::Now(most)
    }

    /// A read brought `count` bytes.
    pub fn read(&self, paid: &mut Paid, count: usize, name: Name, admission: &Admission, now: u64) {
        let (Some(rate), Some(before)) = (self.bytes, paid.read.take().map(u64::from)) else { return };
        let cost = cost_of_bytes(count, rate);
        if count > 0 {
            paid.last = u32::try_from(count).unwrap_or(u32::MAX);
        }
        let ledger = admission.ledger(Kind::Bytes);
        if cost > before {
            // Whoever comes next waits for it.
            ledger.pay(name, cost - before, self.clock(now));
        } else if cost < before {
            ledger.refund(name, before - cost);
        }
    }

    /// The connection has ended: what it has paid for is the others'.
    pub fn leave(&self, paid: Paid, name: Name, admission: &Admission) {
        if let Some(rate) = self.messages.filter(|_| paid.messages > 0) {
            admission.ledger(Kind::Messages).refund(name, cost_of_messages(paid.messages, rate));
        }
        if let Some(cost) = paid.read {
            admission.ledger(Kind::Bytes).refund(name, u64::from(cost));
        }
    }

    fn clock(&self, now: u64) -> u64 {
        self.begun.saturating_add(now.saturating_mul(1000))
    }
}

/// Microseconds, rounded.
fn cost_of_messages(count: u32, rate: u32) -> u64 {
    (u64::from(count) * SECOND + u64::from(rate) / 2) / u64::from(rate)
}

/// Microseconds, rounded up: many small reads are not free.
fn cost_of_bytes(count: usize, rate: u64) -> u64 {
    (count as u64).saturating_mul(SECOND).div_ceil(rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::AsFd;

    fn pace(messages: Option<u32>, bytes: Option<u64>) -> (Pace, Admission) {
        let admission = Admission::map(Admission::memory().unwrap().as_fd()).unwrap();
        let limits = Limits { max_rate_per_ip: messages, max_byte_rate_per_ip: bytes, ..Limits::default() };
        (Pace::new(&limits, &admission, Instant::now()).unwrap(), admission)
    }

    #[test]
    fn connections_of_an_address_wait_in_line_and_give_back_what_they_do_not_take() {
        let (pace, admission) = pace(Some(2), None);
        let name = admission.name("192.0.2.1".parse().unwrap());
        let mut paid = [Paid::default(); 5];
        let turns = paid.each_mut().map(|paid| pace.messages(paid, name, &admission, 0));
        let Turn::In(wait) = turns[2] else { panic!("{turns:?}") };
        assert!((499..=500).contains(&wait), "{turns:?}");
        assert_eq!(turns, [Turn::Now(1), Turn::Now(1), Turn::In(wait), Turn::In(wait + 500), Turn::In(wait + 1000)]);
        // Who has waited does not pay again.
        assert_eq!(pace.messages(&mut paid[2], name, &admission, wait), Turn::Now(1));
        pace.decoded(&mut paid[2], 1);
        pace.leave(paid[3], name, &admission);
        assert_eq!(pace.messages(&mut paid[2], name, &admission, wait), Turn::In(1000));
    }

    #[test]
    fn fast_messages_are_paid_for_in_lots() {
        let (pace, admission) = pace(Some(1_000_000), None);
        let name = admission.name("192.0.2.1".parse().unwrap());
        let (mut paid, mut taken) = (Paid::default(), 0);
        while let Turn::Now(most) = pace.messages(&mut paid, name, &admission, 0) {
            pace.decoded(&mut paid, most as u64);
            taken += most;
        }
        assert!((999_900..=1_000_100).contains(&taken), "{taken}");
    }

    #[test]
    fn a_read_costs_what_it_brought() {
        let (pace, admission) = pace(None, Some(8000));
        let name = admission.name("192.0.2.1".parse().unwrap());
        let mut paid = Paid::default();
        // What comes at once, in reads that would bring `size` bytes.
        let mut taken = |size: usize, count: usize| {
            let mut taken = 0;
            for _ in 0..count {
                let Turn::Now(most) = pace.bytes(&mut paid, name, &admission, 0) else { break };
                pace.read(&mut paid, size.min(most), name, &admission, 0);
                taken += size.min(most);
            }
            taken
        };
        assert_eq!(taken(10, 100), 1000);
        // Small ones and large ones in turn: what is expected of the next read is always wrong.
        let mut reads = (0..100).flat_map(|_| [10, 100_000]).map(|size| taken(size, 1)).take_while(|&count| count > 0);
        let mixed: usize = reads.by_ref().sum();
        assert!((5000..=8000).contains(&mixed), "{mixed}");
        assert_eq!(pace.messages(&mut paid, name, &admission, 0), Turn::Now(usize::MAX));
    }
}
