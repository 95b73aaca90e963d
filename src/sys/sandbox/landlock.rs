//! landlock(7): the calling thread, and all that it makes later, opens nothing more outside a few places, has no TCP of
//! its own (ABI 4), and reaches neither processes nor abstract sockets that are not walled in with it (ABI 6).
use super::{Place, Rights};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use std::io;

/// The newest of which rules are asked for: an older kernel gives what it has.
const NEWEST: ABI = ABI::V6;

/// Whether this kernel has it (5.13), and it is switched on.
pub fn is_there() -> bool {
    let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    hard.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}

/// Walls the calling thread in. Returns the ABI whose rules are in force; 0: this kernel has none.
///
/// # Errors
/// The kernel has Landlock and refuses: as landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).
pub fn wall_in(places: &[Place<'_>]) -> io::Result<u8> {
    let build = || -> Result<LandlockStatus, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for place in places {
            rules = rules.add_rule(PathBeneath::new(place.fd, rights(place.rights)))?;
        }
        Ok(rules.restrict_self()?.landlock)
    };
    match build().map_err(io::Error::other)? {
        LandlockStatus::Available { effective_abi, .. } => {
            Ok(u8::try_from((effective_abi as i32).min(NEWEST as i32)).unwrap_or(0))
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Ok(0),
    }
}

fn rights(rights: Rights) -> BitFlags<AccessFs> {
    use AccessFs::{ReadDir, ReadFile, RemoveDir, RemoveFile, Truncate, WriteFile};
    // What is in the way of a name is renamed, whatever it is, and that counts as making it in the new place.
    let any = AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::MakeFifo | AccessFs::MakeSock;
    let any = any | AccessFs::MakeChar | AccessFs::MakeBlock | RemoveDir;
    match rights {
        Rights::Store => any | ReadFile | WriteFile | ReadDir | RemoveFile | Truncate,
        Rights::Read => ReadFile | ReadDir,
        Rights::Write => WriteFile.into(),
    }
}
