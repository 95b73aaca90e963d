//! One history: workers, a writer and faults by chance, then calm; what is stored must be what was sent.
use super::chance::Chance;
use super::client::LARGEST_FRAME;
use super::disk::Disk;
use super::rules::Rules;
use super::world::{Deed, FOREIGN, Halt, Site, Tally, World, violation};
use super::writer::Writer;
use crate::config::Echo;
use crate::ipc::commit::{CommitRecord, Found, State};

/// Turns of everything within which, without faults, all that was sent is acknowledged.
const PATIENCE: usize = 300;

/// How a history went.
pub struct Outcome {
    pub tally: Tally,
    pub broken: Option<String>,
    pub log: Vec<String>,
}

/// Plays the history of a seed.
pub fn play(seed: u64, rules: &dyn Rules, record: &CommitRecord, log: bool) -> Outcome {
    let mut chance = Chance::new(seed);
    record.reset();
    let echo = [Echo::Received, Echo::Stored, Echo::Synced, Echo::Synced][chance.below(4)];
    let limit = chance.one_in(2).then(|| 40 + chance.below(80) as u64);
    let capacity = 64 + chance.below(200);
    // A look that ends with a frame, one that does not, one that takes in all.
    let look = [LARGEST_FRAME, LARGEST_FRAME + chance.below(60), capacity, capacity][chance.below(4)];
    let mut world = World {
        rules,
        record,
        echo,
        limit,
        sizes: (capacity, look, 1 + chance.below(2)),
        links: Vec::new(),
        workers: Vec::new(),
        disk: Disk::default(),
        kept: Vec::new(),
        kills_left: 1 + chance.below(6),
        kill_one_in: [4, 16, 40][chance.below(3)],
        tally: Tally { histories: 1, ..Tally::default() },
        log: log.then(Vec::new),
        chance,
    };
    let ended = history(&mut world);
    let broken = match ended {
        Err(Halt::Violation(why)) => Some(why),
        _ => None,
    };
    Outcome { tally: world.tally, broken, log: world.log.unwrap_or_default() }
}

fn history(world: &mut World<'_>) -> Deed<()> {
    for _ in 0..1 + world.chance.below(3) {
        world.add_worker();
    }
    let (echo, limit, sizes) = (world.echo, world.limit, world.sizes);
    world.note(|| format!("echo {echo:?}, max-size {limit:?}, pipe, look and acks {sizes:?}"));
    let mut writer = None;
    let faults = world.chance.below(16);
    for _ in 0..6 + world.chance.below(20) {
        act(world, &mut writer, faults)?;
    }
    calm(world, &mut writer)?;
    world.examine()
}

/// One event.
fn act(world: &mut World<'_>, writer: &mut Option<Writer>, faults: usize) -> Deed<()> {
    let worker = world.chance.below(world.workers.len());
    match world.chance.below(20) {
        0..5 => {
            let most = if world.chance.one_in(3) { world.chance.below(80) } else { usize::MAX };
            world.send(worker, true, most);
        }
        5 => world.send(worker, false, usize::MAX),
        6 | 7 => world.read_acks(worker)?,
        8 => {
            if world.kills_left > 0 && writer.take().is_some() {
                world.kills_left -= 1;
                world.tally.kills[Site::Idle as usize] += 1;
                world.note(|| "the writer is killed".to_owned());
            }
        }
        9 | 10 => fault(world, faults),
        11 => writer.iter_mut().for_each(|writer| writer.rotate_requested = true),
        12 => sync(world, writer)?,
        13 if world.chance.one_in(3) => {
            world.note(|| format!("worker {worker} dies"));
            world.kill_worker(worker);
        }
        14 if world.chance.one_in(6) => {
            let power = world.chance.one_in(2);
            world.note(|| if power { "the power fails" } else { "all are killed" }.to_owned());
            *writer = None;
            world.kill_all(power);
        }
        _ => turn(world, writer, faults)?,
    }
    Ok(())
}

/// The disk changes its mind.
fn fault(world: &mut World<'_>, faults: usize) {
    let bit = world.chance.below(4);
    if faults & (1 << bit) == 0 {
        return;
    }
    match bit {
        0 => world.disk.full = !world.disk.full,
        1 => world.disk.next_write_fails = true,
        2 => world.disk.next_sync_fails = true,
        _ => world.disk.next_swap_fails = true,
    }
    world.tally.faults += 1;
    let full = world.disk.full;
    world.note(|| format!("fault {bit}; the disk is full: {full}"));
}

/// The writer has a turn; a dead one is replaced first.
fn turn(world: &mut World<'_>, writer: &mut Option<Writer>, faults: usize) -> Deed<()> {
    let done = match writer {
        Some(writer) => {
            writer.attach(&State::default(), world);
            writer.turn(world)
        }
        None => {
            plant(world);
            if faults & 4 != 0 && world.chance.one_in(6) {
                // Where a newborn's first sync is that of a rotation's new file.
                world.disk.next_sync_fails = true;
            }
            Writer::begin(world).map(|born| *writer = Some(born))
        }
    };
    match done {
        Err(Halt::Killed) => *writer = None,
        done => done?,
    }
    Ok(())
}

/// The writer's sync thread does something.
fn sync(world: &mut World<'_>, writer: &mut Option<Writer>) -> Deed<()> {
    match writer.as_mut().map_or(Ok(()), |writer| writer.sync_aside(world)) {
        Err(Halt::Killed) => *writer = None,
        done => done?,
    }
    Ok(())
}

/// Somebody else's segment, newer than all, stands in the directory.
fn plant(world: &mut World<'_>) {
    let settled = match world.record.read() {
        Found::Settled(base) => base.segment.sequence,
        _ => return,
    };
    // Not under the very name that is noted for what is being saved: a real name also has the second in it.
    let noted = world.disk.manifest.iter().filter_map(|entry| entry.moved_to).any(|target| !world.disk.exists(target));
    let no_rotation = !noted && world.disk.newest().is_some_and(|file| file.sequence == settled);
    if no_rotation
        && world.chance.one_in(8)
        && let Ok(sequence) = world.disk.create(true)
    {
        let file = world.disk.file(sequence);
        (file.bytes, file.durable) = (FOREIGN.to_vec(), FOREIGN.to_vec());
        world.note(|| format!("somebody else makes segment {sequence}"));
    }
}

/// The faults stop: all that was sent must come to its end.
fn calm(world: &mut World<'_>, writer: &mut Option<Writer>) -> Deed<()> {
    world.note(|| "calm".to_owned());
    let disk = &mut world.disk;
    (disk.full, disk.next_write_fails, disk.next_sync_fails, disk.next_swap_fails) = (false, false, false, false);
    world.kills_left = 0;
    for _ in 0..PATIENCE {
        for worker in 0..world.workers.len() {
            world.send(worker, false, usize::MAX);
        }
        turn(world, writer, 0)?;
        sync(world, writer)?;
        for worker in 0..world.workers.len() {
            world.read_acks(worker)?;
        }
        let served = world.workers.iter().filter(|worker| worker.alive).all(super::client::Worker::is_served);
        let drained = world.links.iter().all(|link| link.gone || (!link.hung_up && link.is_empty()));
        let idle = world.links.iter().all(|link| link.gone || link.hung_up || link.acks.is_empty());
        if served && drained && idle && writer.is_some() {
            return Ok(());
        }
    }
    violation(format!("stuck: {:?} {:?}", world.workers, world.links))
}
