//! What the writer says.
use super::Event;

super::events! {
    UNCLEAN_END, "unclean-end", 0xdf80922ecbce4614bb446f9f3ab3bce4, Notice, [Writer],
        "the last end was not a clean one; looking for torn records",
        "The last run was killed, or power was cut.",
        "Nothing.";
    LIVE_SEGMENT, "live-segment", 0x14f7cb69be104efeb65331bbb1dd3826, Info, [Writer],
        "live segment messages-0000000042-20261122T084200Z.log",
        "Records go to this file from now on.",
        "Nothing.";
    TORN_RECORDS_MOVED, "torn-records-moved", 0xad135d2f71b8427d9e57a83d412353d6, Warn, [Writer],
        "unclean end: 17 bytes after byte 4096 of messages-….log are no whole record; moved to messages-….log.torn; …",
        "Half a record at the end of a file was set aside. Unless power was cut, or somebody changed the file, it was not echoed as stored.",
        "Nothing; the .torn file may be deleted when you have looked at it.";
    FOREIGN_CURRENT, "foreign-current", 0x2c5f05301c7b4544bbc9d64565df6ec7, Warn, [Writer],
        "current is not a file of this store (or the store is a copy); it is kept as current.saved-1795428120",
        "Somebody put a file in the place of current, or the store is a copy. If a file of records has lost its name while no daemon ran, this may be all that is left of it.",
        "Look into the saved file before you do anything. Records that are in no other file: give it the name whose number verify misses. Else move it away.";
    LIVE_FILE_KEPT, "live-file-kept", 0xf3477e669b2f44988a13fd1030219191, Error, [Writer],
        "messages-….log has lost its name, its records are in current.saved-1795428120: give it its name back; a new one takes over",
        "Somebody renamed or removed the live file, and current still led to it. Its records were echoed, are not in the store now, and the saved file may be all that is left of them.",
        "Rename the saved file to the name in the line, in the store's directory. Never remove it. Find out who did it.";
    WRITER_CONTINUES, "writer-continues", 0x7c39e5a6e2e34832b9b1d41db64aac23, Notice, [Writer],
        "going on with messages-0000000042-….log at byte 4096",
        "A new writer has taken a dead one's place.",
        "Nothing.";
    LIVE_FILE_READ_ONLY, "live-file-read-only", 0xb5c85504c9e9417585357a0d13ab7d51, Warn, [Writer],
        "messages-….log was made read-only by somebody else; its mode is set again",
        "Somebody changed the mode of the live file.",
        "Find out who did.";
    LIVE_FILE_GONE, "live-file-gone", 0xc25fc2db9af4422c97a915d74236edcb, Error, [Writer],
        "segment 42 is gone, and 4096 bytes of records with it; a new one takes over",
        "A new writer does not find the live file: somebody deleted it, or moved it away.",
        "Find out who did. A file that was moved: give it its name back. One that was deleted: the records in it are lost.";
    LIVE_FILE_DELETED, "live-file-deleted", 0x93e6b6fd009741b5acba43376f3f7032, Error, [Writer],
        "messages-….log was deleted by somebody else, and 4096 bytes of records with it; a new segment takes over",
        "Somebody deleted the live file. destroyed_bytes in the status counts its bytes.",
        "Find out who did; the records in it are lost. Delete closed files only, better by [retain].";
    LIVE_FILE_CHANGED, "live-file-changed", 0x24070468ae1b4f98b2a9cbc119deeb3c, Error, [Writer],
        "messages-….log was changed by somebody else: 0 bytes instead of 4096; it is left as it is, a new segment takes over",
        "Somebody truncated the live file (copytruncate?) or wrote to it. With fewer bytes than before, records that were echoed are lost; destroyed_bytes in the status counts them, and verify names the file.",
        "Find out who did; a backup may have the records. Take the store out of logrotate's configuration; echostored rotates by itself.";
    LIVE_FILE_RENAMED, "live-file-renamed", 0xcdb23491f2af46ddb5ba188fa6bb9831, Warn, [Writer],
        "messages-….log or current was renamed or removed by somebody else; a new segment takes over",
        "The records are still in the renamed file.",
        "Give the file its name back to have cat and verify count it. Take the store out of logrotate's configuration.";
    CURRENT_NOT_SEEN, "current-not-seen", 0x3a407206a8ab4cdd898c393b59f66446, Warn, [Writer],
        "cannot look what current is now: Permission denied",
        "Whether somebody touched the live file cannot be seen now; records go on to it.",
        "Look at the mode of the store's directory.";
    STORE_DELETED, "store-deleted", 0xbd3afe28ce7246f6b3b0c2a275cded44, Error, [Writer],
        "the store's directory /var/lib/echostored was deleted, and all records in it; nothing is echoed until it is there again",
        "Somebody deleted the store. The supervisor makes it again. What closed files held is counted nowhere.",
        "Find out who did. Where it cannot be made again: give the daemon's user the right to, or make it yourself.";
    LOCK_REMOVED, "lock-removed", 0x799a295dd5bd4d718b2cee7ae018c6dc, Error, [Writer],
        ".lock in /var/lib/echostored was removed or replaced by somebody else: the store is not safe from a second daemon",
        "The supervisor makes it again within a second.",
        "Find out who did.";
    MARK_REMOVED, "mark-removed", 0x9d089c976f8d42fdbbf6aa9eb6bbbf4b, Error, [Writer],
        ".store in /var/lib/echostored was removed by somebody else",
        "The supervisor makes it again within a second.",
        "Find out who did.";
    STORE_MOVED, "store-moved", 0x01c0e9533b094a77ba8c2e2e773f9d19, Error, [Writer],
        "/var/lib/echostored no longer leads to the store's directory: …; records go on to it there; …",
        "Somebody renamed the store's directory, or mounted another file system over it.",
        "Put it back, or restart the daemon to use the path as it is now.";
    STORE_FOUND_AGAIN, "store-found-again", 0xdfd516b08ab84e4bad5b107986b46fc7, Notice, [Writer],
        "the store's directory is /var/lib/echostored again, with all that belongs there",
        "The end of store-deleted, lock-removed, mark-removed or store-moved.",
        "Nothing.";
    DISK_FULL, "disk-full", 0x260547ec1e7f475eaeee206da15fde4b, Error, [Writer],
        "cannot write to messages-….log at byte 4096: No space left on device; nothing is echoed until it can; …",
        "The disk takes nothing (it is full, a quota is reached, or it is read-only: the line says which): clients wait for their echoes. It is tried again five times a second. With store.on-disk-full = \"prune\": pruning has made no room for two seconds.",
        "Make room; it goes on within a second. [retain] min-free-space or store.on-disk-full = \"prune\" make room by themselves.";
    DISK_FULL_REFUSING, "disk-full-refusing", 0x058d57b9d95747c48c8e1c0f8f323cf4, Error, [Writer],
        "cannot write to messages-….log at byte 4096: No space left on device; refusing: who sends is closed without an echo; …",
        "The disk takes nothing, and store.on-disk-full = \"reject\" closes who sends.",
        "Make room; it goes on by itself.";
    STORING_AGAIN, "storing-again", 0x3a9731207c16436896ba3933a21dc769, Notice, [Writer],
        "storing again in messages-….log",
        "The end of disk-full or disk-full-refusing: something was stored, or there is room for what was refused last.",
        "Nothing.";
    MESSAGES_REFUSED, "messages-refused", 0x51a75462e4624eeba6acc78f2c0f6bac, Warn, [Writer],
        "12 messages were refused for want of room; none of them was echoed",
        "At the end of this writer: how many messages the full disk has cost. Their connections were closed.",
        "Clients that heard no echo send again.";
    WRITE_FAILED, "write-failed", 0xbe6b5e1c337a49b3bb57e9b606c6d49d, Error, [Writer],
        "cannot store in messages-….log beyond byte 4096: Input/output error; it is not used again, a new segment takes over",
        "The disk fails. What is not acknowledged is stored in a new file.",
        "Look at the disk (dmesg); move the store.";
    SYNC_FAILED, "sync-failed", 0x1159dfa069294d2fbb1e602dbe711343, Error, [Writer],
        "cannot sync messages-….log: Input/output error; bytes 0 to 4096 are acknowledged and may not be on the disk: they are saved to a new segment",
        "The disk fails. What was acknowledged since the last good sync is read back and stored in a new file.",
        "Look at the disk (dmesg); move the store.";
    DIRECTORY_SYNC_FAILED, "directory-sync-failed", 0xdbdfafa394634aaabc58e1532f51a969, Error, [Writer],
        "cannot sync the store's directory: Input/output error; the names of its newest files may not survive a power cut",
        "The disk fails.",
        "Look at the disk (dmesg); move the store.";
    FAILURE_NOT_NOTED, "failure-not-noted", 0x491e73c0fec2434db49fb53c939e9890, Error, [Writer],
        "cannot note in .failed.jsonl that messages-….log failed: …",
        "What failed, and where the good bytes end, could not be written down; it is tried again. After a kill of all processes the next start may not know of it.",
        "Look at the disk (dmesg), and at its room.";
    FAILURES_NOT_READ, "failures-not-read", 0x69d8303833c7454ca05c2c81693d1f0c, Error, [Writer],
        "cannot read .failed.jsonl: …; what failed in an earlier run is not known",
        "Whether files of earlier runs have failed is not known.",
        "What the line says; then restart.";
    FAILED_IN_EARLIER_RUN, "failed-in-earlier-run", 0xa9c7f26ea19643978a60385d7f891d69, Warn, [Writer],
        "messages-….log failed in an earlier run: what follows its byte 4096 is saved to a new segment",
        "The last run ended before it could save what a failing disk left.",
        "Nothing.";
    SAVED, "saved", 0x70366c5c16b741099b96f8923981844b, Notice, [Writer],
        "what followed byte 4096 of messages-….log is now in messages-….log",
        "Records of a failed file were saved to a new one.",
        "Nothing.";
    RECORDS_LOST, "records-lost", 0xf2ea50fc000844828d37704a3f8f4113, Error, [Writer],
        "bytes 0 to 4096 of messages-….log were acknowledged and cannot be read back as records: they are lost from the store, …",
        "Records that were echoed are lost: the disk has failed.",
        "Look at the .torn file; tell who sent them; replace the disk.";
    NOT_SAVED, "not-saved", 0x2bcf625fd43a4744b1b41549b521e752, Error, [Writer],
        "what could not be synced could not be saved either: the next start will try again",
        "In a stop the disk took nothing more.",
        "Look at the disk (dmesg), then start again.";
    NOT_CUT, "not-cut", 0x198c2a15b12b46eb9c0037403ceb30b6, Error, [Writer],
        "cannot cut messages-….log at byte 4096: …; what follows there is not part of the store",
        "Bytes behind the good ones stay in the file. They do not count: readers of ours pass over them.",
        "Nothing.";
    NO_NEW_SEGMENT, "no-new-segment", 0x38aa8a2501ce4daa8f47521b1b0e26e5, Warn, [Writer],
        "cannot begin a new segment: Permission denied; going on with the old one, trying again every 1s; …",
        "No new file can be made (no inodes, no permission). Either the old one goes on, or, where it must not be used any more, clients wait: the line says which.",
        "What the end of the line says; it goes on by itself.";
    ROTATING_AGAIN, "rotating-again", 0x217e90605cab4ecda56244559cd7ae7f, Notice, [Writer],
        "new segments can be begun again; messages-….log is live",
        "The end of no-new-segment.",
        "Nothing.";
    FOREIGN_FILE, "foreign-file", 0xd704057a775a4decbde98a344948118b, Warn, [Writer],
        "messages-….log is no file of this daemon's, whoever put it there; it is left alone, look at it and remove it",
        "A file has a name that only a file of the store should have.",
        "Look at it and remove it.";
    DISK_SLOW, "disk-slow", 0x0f5f0c81bd4c4ebda3160310b3f35d15, Warn, [Writer],
        "the disk is slow: the sync of messages-….log took 2.1s; the next line of it is that it is over",
        "A write or a sync took more than a second. In synced mode echoes wait for it; in stored mode a power cut would cost more.",
        "Look at the disk (iostat), and who else uses it.";
    DISK_QUICK, "disk-quick", 0x9d7830aaaf9c4b18b086d0ff776e29fd, Notice, [Writer],
        "the disk is quick again; 12 writes or syncs took more than 1s, the longest 2.1s",
        "The end of disk-slow: for ten seconds none took so long.",
        "Nothing.";
    SYNC_LATE, "sync-late", 0x59c5ac5d8401425f9a2e7b7ad79bf015, Warn, [Writer],
        "the disk is slow or hangs: a sync is not done after 5s; storing goes on until 4 closed files wait for theirs",
        "A sync does not end.",
        "Look at the disk (dmesg, iostat).";
    SYNC_AGAIN, "sync-again", 0x9f8f6560c4734a4b8dfe5e4e9616be12, Notice, [Writer],
        "the disk syncs again",
        "The end of sync-late: for ten seconds no sync was late.",
        "Nothing.";
    BATCH_REPEATED, "batch-repeated", 0x38925dd9042a4c29a0b0b5d61ed0ac94, Notice, [Writer],
        "repeating a batch of 12 frames that the last writer did not commit",
        "The last writer was killed while it wrote; the same bytes are written again at the same place.",
        "Nothing.";
    BATCH_NOT_REPEATED, "batch-not-repeated", 0xf354f8a9a574456ea6faad19306bdb9f, Error, [Writer],
        "a batch that the last writer did not commit cannot be repeated: a link of it was not kept",
        "All processes were killed, and not all pipes were kept. What the batch held was not echoed, but in received mode.",
        "Compare FileDescriptorStoreMax= with the packaged unit.";
    LINK_BROKEN, "link-broken", 0xd372ad312b3d41f480a216520f71ff0b, Error, [Writer],
        "worker link 3 carries a frame with a wrong secret; its worker is replaced",
        "A worker sent bytes that ours never sends: it was broken into, or memory is faulty. What the others have sent is whole.",
        "Take it seriously: keep the log, look who was connected, test the memory, update echostored.";
    FRAME_TORN, "frame-torn", 0x999bdb2a867e4d4fbc45ed81b1d897bb, Info, [Writer],
        "dropped 4096 bytes of an unfinished frame of a dead worker; none of it was echoed",
        "A worker died while it handed messages on. Clients that heard no echo send them again.",
        "Nothing.";
    ORPHANED_WITH_REST, "orphaned-with-rest", 0x9062e7233884473ca46760b34c76276a, Error, [Writer],
        "the supervisor is dead and the store takes nothing more: leaving; what is left in the pipes was not stored",
        "Without a supervisor the writer does not wait for the disk for ever. What it leaves was not echoed, but in received mode.",
        "Start again; clients that heard no echo send again. In received mode tell who sent it.";
    LIVE_SEGMENT_END, "live-segment-end", 0x110923a0f0bf4a659efba41276933742, Info, [Writer],
        "messages-….log ends at byte 4096",
        "The last line of a writer that leaves in order.",
        "Nothing.";
    CLEAN_END_NOT_NOTED, "clean-end-not-noted", 0x2ef6b9727f21499ca0e9cf00409bff5d, Warn, [Writer],
        "cannot note the clean end of messages-….log: …; the next start will look for torn records",
        "All is stored, but the next start takes this end for an unclean one, and looks at the newest files.",
        "Nothing.";
    CLEAN_END_FAILED, "clean-end-failed", 0x9c7888ab826d4db1a8d8565bad2213df, Error, [Writer],
        "cannot note the clean end of messages-….log: Input/output error; the next start will look for torn records",
        "The disk failed at the very end; the daemon exits with 1. All that was acknowledged had been written.",
        "Look at the disk (dmesg). The next start looks at the newest files.";
}
