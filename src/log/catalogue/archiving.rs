//! What the archiver says.
use super::Event;

super::events! {
    ARCHIVING_FAILED, "archiving-failed", 0x47afe61ef1774f3ea9c26c9e087e2f3a, Warn, [Archiver],
        "cannot compress messages-….log: Permission denied; it is tried again",
        "A step of sealing, compressing or deleting failed; messages are stored all the same. It is tried again after 1 s, at last every 5 min; told once for each kind of cause (`archive_faults` in the status counts all).",
        "What the line says; look at the disk and at the modes in the store.";
    ARCHIVING_AGAIN, "archiving-again", 0x0876428e01554779afcc200f043e625d, Notice, [Archiver],
        "compressing goes well again",
        "The end of archiving-failed, for this kind of step: it fails with no closed file any more.",
        "Nothing.";
    HOOK_STATE_NOT_READ, "hook-state-not-read", 0x2fae61324dfe43f4bdc1e2c1278447d5, Warn, [Archiver],
        "cannot read .on-close: …; all closed files are handed on again",
        "What rotate.on-close has done is not known, so it is run again for all closed files.",
        "The program must bear to see a file twice.";
    HOOK_WENT_WELL, "hook-went-well", 0xb92c74d9b7c64010a5eacaef6227eb3e, Notice, [Archiver],
        "on-close went well with messages-….log after 3 failures",
        "The end of hook-failed.",
        "Nothing.";
    HOOK_FAILED, "hook-failed", 0x5700e7d658df4811aac7fa565b849bb1, Warn, [Archiver],
        "on-close failed with messages-….log: exit code 1 (attempt 3); the next try is in 4 s",
        "The program of rotate.on-close did not exit with 0. It is run again until it does.",
        "Run the program by hand with that file; its own lines stand before this one.";
    HOOK_MISSED, "hook-missed", 0x1afc01288ecf49f08728eba66714e63e, Warn, [Archiver],
        "messages-….log is deleted before rotate.on-close went well with it",
        "Retention (or somebody else) was faster than the program: what it should have handed on is gone.",
        "Mend the program, or give retention more room.";
    DELETING_MAKES_NO_ROOM, "deleting-makes-no-room", 0x40fe679eddce47568aa250205ebfe707, Warn, [Archiver],
        "deleting files makes no room: a snapshot may keep their blocks, or a program the files; it is done more and more seldom",
        "Retention deletes, and the disk is as full as before.",
        "Look for snapshots, and for programs that hold deleted files (lsof +L1).";
    RETENTION_NOT_MET, "retention-not-met", 0xe7778b9c1658460eb4fd7b18b293965c, Warn, [Archiver],
        "retain.max-total-size does not hold: no closed file is left that may be deleted",
        "Only the live file, and files that are not settled yet, are left.",
        "Make the rule larger, rotate.max-size smaller, or the disk larger.";
    NOTHING_TO_PRUNE, "nothing-to-prune", 0x0b6493bca885423cb4424d9eddbcfbe1, Warn, [Archiver],
        "the disk is full, and no closed file is left to be deleted",
        "store.on-disk-full = \"prune\" has deleted all that it may; clients wait.",
        "Something else fills the disk: make room.";
    DELETED, "deleted", 0x2960eb2c017c4960931bf6ba9af7060a, Info, [Archiver],
        "deleted messages-….log: retain.max-files",
        "Retention deleted a closed file; its line in the manifest stays.",
        "Nothing.";
    FILE_OF_OTHERS, "file-of-others", 0xe0fd06bc99754abc8ded256b9dd56e17, Warn, [Archiver],
        "messages-….log is none of the store's: another file has its number, or it is no regular file; it is left alone",
        "A file has a name that only a file of the store should have.",
        "Look at it and remove it.";
    MANIFEST_FLAWED, "manifest-flawed", 0x98b95beb33a3417fa1c1fb635e82bc26, Warn, [Archiver],
        "MANIFEST.jsonl, line 12: … (1 lines are flawed); it is gone on with",
        "Somebody changed the manifest, or a disk failed.",
        "echostored verify tells which files have no seal now.";
    FILE_GONE, "file-gone", 0x711b702a029641f89b9c807e607b8f2b, Warn, [Archiver],
        "messages-….log is gone: somebody else has deleted it",
        "A closed file was deleted, and not by retention.",
        "Find out who did; better let [retain] delete.";
    CLOCK_SET, "clock-set", 0x8717f87ced044f6db431a0c7c8e172bd, Notice, [Archiver],
        "the clock was set by 3600 s; …",
        "The system's clock jumped. Closed files do not age by the jump.",
        "Nothing.";
    CLOCK_STATE_NOT_READ, "clock-state-not-read", 0x0d1864b8d0b04b13a10b6936e8b30030, Warn, [Archiver],
        "cannot read .archiver: …; the clock is trusted",
        "What was known of jumps of the clock is lost; files may age by one.",
        "If retain.max-age is set: compare the clock with a good one.";
    SEAL_DOES_NOT_FIT, "seal-does-not-fit", 0x9869e55506f046ff9893c70e5377997a, Warn, [Archiver],
        "messages-….log is not what was sealed: somebody has changed it; it is not compressed",
        "A closed file was changed after it was sealed, or the disk has failed.",
        "echostored verify; compare with a backup.";
}
