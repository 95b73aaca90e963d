//! Users and groups: looking them up, and becoming one for good or for a moment.
use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgroups, initgroups, setegid, seteuid, setgroups, setresgid, setresuid,
};
use std::ffi::CString;
use std::io;

/// Whom the daemon runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name, for the supplementary groups.
    name: CString,
    /// User id.
    pub uid: Uid,
    /// Group id: the group asked for, else the user's own.
    pub gid: Gid,
}

impl Identity {
    /// Looks up a user, and a group if one is named (getpwnam(3), getgrnam(3)); a number is taken as an id of an entry.
    /// `Ok(None)`: no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> io::Result<Option<Self>> {
        let Some(user) = find_user(user)? else {
            return Ok(None);
        };
        let gid = match group {
            None => user.gid,
            Some(group) => match find_group(group)? {
                Some(group) => group.gid,
                None => return Ok(None),
            },
        };
        let name = CString::new(user.name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Some(Self { name, uid: user.uid, gid }))
    }

    /// Whether the process already is that user and group.
    pub fn is_current(&self) -> bool {
        geteuid() == self.uid && getegid() == self.gid
    }

    /// Becomes this identity for good: supplementary groups (`initgroups(3)`), then group, then user, each real,
    /// effective and saved; and makes sure that there is no way back.
    pub fn assume(&self) -> io::Result<()> {
        initgroups(&self.name, self.gid)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)?;
        if !self.uid.is_root() && seteuid(Uid::from_raw(0)) != Err(Errno::EPERM) {
            return Err(io::Error::other("the privileges of root could be taken back"));
        }
        Ok(())
    }

    /// Runs `deed` with this identity's effective rights, so that root never opens or makes a file in a directory that
    /// another user may have prepared, and returns to the caller's own.
    pub fn act_as<T>(&self, deed: impl FnOnce() -> T) -> io::Result<T> {
        let (uid, gid, groups) = (geteuid(), getegid(), getgroups()?);
        if uid == self.uid && gid == self.gid {
            return Ok(deed());
        }
        initgroups(&self.name, self.gid)?;
        setegid(self.gid)?;
        seteuid(self.uid)?;
        let result = deed();
        seteuid(uid)?;
        setegid(gid)?;
        setgroups(&groups)?;
        Ok(result)
    }
}

fn find_user(user: &str) -> io::Result<Option<User>> {
    match user.parse() {
        Ok(number) => Ok(User::from_uid(Uid::from_raw(number))?),
        Err(_) => Ok(User::from_name(user)?),
    }
}

fn find_group(group: &str) -> io::Result<Option<Group>> {
    match group.parse() {
        Ok(number) => Ok(Group::from_gid(Gid::from_raw(number))?),
        Err(_) => Ok(Group::from_name(group)?),
    }
}

/// Whether this process has the effective rights of root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The effective group id.
pub fn effective_gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// The effective user id.
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// Gives the file to `identity` (fchown(2)).
pub fn give_to(file: impl std::os::fd::AsFd, identity: &Identity) -> io::Result<()> {
    Ok(nix::unistd::fchown(file, Some(identity.uid), Some(identity.gid))?)
}
