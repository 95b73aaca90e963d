//! Starts, stops, reloads, and what the supervisor says of the others.
use super::Event;

super::events! {
    CONFIGURATION_WARNING, "configuration-warning", 0x105b5fd9191c4fd993a34ddd85f4a13a, Warn, [Supervisor],
        "echostored.toml:12:1: store.directory is below /home, which the unit hides",
        "The configuration is used, but something in it is probably not what was meant.",
        "Change the named key, and reload.";
    START_FAILED, "start-failed", 0x6f5d9f5ecb1b497c8d11a90565e08834, Error, [Supervisor],
        "cannot listen on 127.0.0.1:7007: Address already in use; …",
        "The daemon cannot start, and exits with the code that fits the reason.",
        "What the end of the line says.";
    LISTENING_ENDED, "listening-ended", 0x4c98cb82253c4bc4b91f281881c0172e, Notice, [Supervisor],
        "listening on 127.0.0.1:7008 has ended",
        "A reload has taken this address away. Connections that came in there stay.",
        "Nothing.";
    LISTENING, "listening", 0x8e1092df2445474d9b8b57b0bacbfbe3, Notice, [Supervisor],
        "listening on 127.0.0.1:7007",
        "The daemon accepts connections at this address from now on.",
        "Nothing.";
    READY, "ready", 0xcb25740fc65e4b8a97c2df2a4a0a92d4, Notice, [Supervisor],
        "ready: 2 workers, store /var/lib/echostored",
        "All processes serve.",
        "Nothing.";
    STOPPING, "stopping", 0x77770379c7de471c8b25f3297ecfcab4, Notice, [Supervisor],
        "TERM: stopping; a second signal stops at once",
        "A stop was asked for: nothing more is accepted, what is on its way is stored and echoed.",
        "Nothing.";
    STOPPING_AT_ONCE, "stopping-at-once", 0xb6b8ab9853274695ab3e1961c60d3a44, Notice, [Supervisor],
        "TERM again: stopping at once; what is not acknowledged is not echoed",
        "A second signal came in a stop.",
        "Nothing.";
    STOPPED, "stopped", 0xebc3f37abebe43fabf461ade9df7672f, Info, [Supervisor],
        "stopped",
        "All processes have ended; the pid file is removed.",
        "Nothing.";
    WRITER_LATE, "writer-late", 0x0b62e1cb01854a6280d95edbe0da6431, Error, [Supervisor],
        "the writer cannot store what is left in time; what is not in the file yet is lost, …",
        "A stop gave up: the disk did not take what was left in the pipes. None of it was echoed, but in received mode.",
        "Look at the disk. A descriptor store (FileDescriptorStoreMax=) keeps the pipes for the next start.";
    WORKER_LATE, "worker-late", 0xa6c02dfd2a0946c08b51dc88fe580b1a, Warn, [Supervisor],
        "worker 1 (4711) does not leave; it is killed",
        "In a stop a worker was not done in time. What it had not echoed is stored, or the client was told nothing.",
        "If it happens often: a longer server.shutdown-timeout.";
    RELOADED, "reloaded", 0xa8702ea7bbaf4fee9fd9f13061d65c45, Notice, [Supervisor],
        "reloaded /etc/echostored/echostored.toml",
        "The new configuration is taken up: new workers begin, the old ones finish their connections.",
        "Nothing.";
    RELOAD_DONE, "reload-done", 0x53c44dafd2924f0aa64dd50353a04117, Notice, [Supervisor],
        "the new configuration is in force: 2 workers serve",
        "All processes work by the configuration of the last reload. Workers from before it only finish their old connections.",
        "Nothing.";
    NOT_RELOADED, "not-reloaded", 0xce33954d88774e7eadae7ae28aaebc27, Error, [Supervisor],
        "not reloaded, the old configuration stays: …",
        "The new configuration is bad, or cannot be taken up. Everything goes on as it was.",
        "Mend what the line names, and reload again.";
    LOG_FILE_NOT_OPENED, "log-file-not-opened", 0xc2ae5cfdf9834f24845bd23e46dd3417, Error, [Supervisor],
        "cannot open daemon.log-file again: Permission denied; the old one goes on",
        "A reload was to go on in a new log file.",
        "Let the daemon's user write to the file and its directory, and reload again.";
    GENERATION_CLOSED, "generation-closed", 0x972f938d9e694a50917da512826ec0aa, Notice, [Supervisor],
        "worker 1 (4711) of the generation before the last closes its connections",
        "Two reloads came while old connections were still there; the oldest are ended in order.",
        "Nothing.";
    WORKER_LEFT, "worker-left", 0xc0501f67ab3e46f0a6a947446ac39321, Info, [Supervisor],
        "worker 1 (4711) of an earlier generation has ended",
        "Its last connection is gone.",
        "Nothing.";
    NEW_STORE, "new-store", 0xd81e2988e34d4dc0a503f01c2d222412, Notice, [Supervisor],
        "/var/lib/echostored holds no store yet: a new one is begun",
        "The directory was empty.",
        "If a store should have been there: stop, and look at store.directory and the mounts.";
    REJECT_WITHOUT_EFFECT, "reject-without-effect", 0xe845f745a22644f284844756676d9ac1, Notice, [Supervisor],
        "store.on-disk-full = \"reject\" has no effect with server.echo = \"received\": …",
        "What was echoed is never refused, so a full disk makes clients wait.",
        "Choose server.echo = \"stored\", or store.on-disk-full = \"wait\".";
    BAD_TIME_ZONE, "bad-time-zone", 0x8b9176080cad447d85502dbf7691a4d0, Warn, [Supervisor],
        "TZ=\"Mars\" is not used: it is neither a zone's name nor a file of one",
        "The environment names a time zone that is not there; the system's own is used.",
        "Mend TZ in the unit or the shell.";
    FRAME_LIMIT, "frame-limit", 0xd4f84c0990894322a125f67e08014195, Info, [Supervisor],
        "data pipes take frames of up to 1044480 bytes",
        "How large a step from a worker to the writer may be; smaller than 1 MiB where the kernel gives small pipes.",
        "If it is 4096: raise fs.pipe-user-pages-soft, or give the service a user of its own.";
    EVENTS_NOT_WAITED_FOR, "events-not-waited-for", 0x5b195e5b479f48ad927e541cdaffa1d0, Error, [Supervisor],
        "cannot wait for events: …",
        "The supervisor's loop was refused by the kernel: the daemon ends, with exit code 1. Its other processes store and echo what is on its way, and leave.",
        "Start it again, if no service manager does. Report it, with the lines around it.";
    CHILDREN_NOT_WAITED_FOR, "children-not-waited-for", 0x5d9bb47ac64047fa927ced425114a493, Error, [Supervisor],
        "cannot wait for children: …",
        "The kernel did not tell which process has ended; it is asked again.",
        "Report it, with the lines around it.";
    FORK_FAILED, "fork-failed", 0x71467b1d68ba4f6c9495c50d56d5e794, Error, [Supervisor],
        "cannot start a worker: Resource temporarily unavailable; raise TasksMax= …",
        "No process can be made in a dead one's place. It is tried again, every second at last.",
        "Raise TasksMax= or the process limit (ulimit -u); look what else runs.";
    FORK_SUCCEEDED, "fork-succeeded", 0x30bf007b16414631af02dbc9890d574e, Notice, [Supervisor],
        "processes can be started again",
        "The end of fork-failed.",
        "Nothing.";
    ROLE_NOT_WATCHED, "role-not-watched", 0xe775c659f7d946e38e95da077e1d9600, Error, [Supervisor],
        "cannot watch worker 1 (4711): …; it is replaced",
        "A new process could not be added to the supervisor's loop; another takes its place.",
        "If it lasts: raise LimitNOFILE=.";
    WRITER_ENDED, "writer-ended", 0x4713ae8fdd0e4cedb5c03681a66962fd, Warn, [Supervisor],
        "writer 4711 ended: killed by KILL; it is replaced, no connection is lost",
        "The writer died. What it had not stored is still in the pipes, and its successor stores it.",
        "Look who killed it (memory? an operator?). If it crashed by itself, report it.";
    WORKER_ENDED, "worker-ended", 0x1c79c50c383e4ca89afca4a9b5fba27f, Warn, [Supervisor],
        "worker 1 (4711) ended: killed by KILL; its connections are closed",
        "A worker died. What it had handed on is stored; its clients see the end of their connections, and send again what was not echoed.",
        "Look who killed it. If it crashed by itself, report it.";
    WORKER_REPLACED, "worker-replaced", 0x476f787ab76d48629e5c2a12aba1c329, Info, [Supervisor],
        "worker 1 (4712) serves in the place of one that died",
        "The end of worker-ended.",
        "Nothing.";
    ARCHIVER_ENDED, "archiver-ended", 0x1a62b57d4f7e4c918c73e1ccf9982e7e, Warn, [Supervisor],
        "archiver 4711 ended: killed by KILL; it is replaced, nothing else is touched",
        "The archiver died; a new one goes on where it was.",
        "Look who killed it. If it crashed by itself, report it.";
    ARCHIVER_READY, "archiver-ready", 0x5c86875989e04ffd9e20893ebcbb7963, Info, [Supervisor],
        "archiver 4712 looks after closed files",
        "A new archiver has begun: at the start, after a reload, or in a dead one's place.",
        "Nothing.";
    WRITER_KEEPS_DYING, "writer-keeps-dying", 0x99573ced21a94f4391b20839806498f7, Error, [Supervisor],
        "the writer keeps dying without storing anything; next try in 100ms, and at last every 10s",
        "Nothing is stored or echoed between the tries.",
        "The lines before this one say why it dies. Mend that; it goes on by itself.";
    WORKER_KEEPS_DYING, "worker-keeps-dying", 0xb8f5b8504aa845e981ba4664d3942ddd, Error, [Supervisor],
        "worker 1 keeps dying; next try in 100ms, and at last every 10s",
        "Other workers serve meanwhile.",
        "The lines before this one say why it dies. Mend that; it goes on by itself.";
    ARCHIVER_KEEPS_DYING, "archiver-keeps-dying", 0x88ee921c2e2b4676a168ff9790b14193, Error, [Supervisor],
        "the archiver keeps dying without doing anything; next try in 100ms, and at last every 10s",
        "Closed files are neither sealed, compressed nor deleted: the disk may fill.",
        "The lines before this one say why it dies. Mend that; it goes on by itself.";
    ROLE_LIVES, "role-lives", 0x982ab705a0194277851ad135de4cabc1, Notice, [Supervisor],
        "worker 1 (4711) lives again",
        "The end of writer-keeps-dying, worker-keeps-dying, archiver-keeps-dying or exporter-keeps-dying.",
        "Nothing.";
    ROLE_NOT_UNDERSTOOD, "role-not-understood", 0xe2695626eeb9485a91df92361b8a4cd5, Error, [Supervisor],
        "cannot understand the writer (4711): …; it is replaced",
        "What a process said over its control channel is no message of ours.",
        "If it happens again, report it.";
    WORKER_DISTRUSTED, "worker-distrusted", 0x88e520c55d694856a40030075ff8ba39, Error, [Supervisor],
        "worker 1 (4711) sent what no worker sends; it is killed",
        "A worker sent something that no worker of ours sends: it may have been broken into.",
        "Take it seriously: keep the log, look who was connected, update echostored.";
    ARCHIVER_HANGS, "archiver-hangs", 0x03d350aa857649e991188d6923597ae8, Error, [Supervisor],
        "the archiver (4711) hangs: it has not moved for 60s; it is replaced",
        "The archiver stands still, and not for the disk.",
        "If it happens again, report it.";
    ROLE_HANGS, "role-hangs", 0x6299e127728d4a9cb0792ae7577023e7, Error, [Supervisor],
        "the writer (4711) hangs: it has not moved for 5.0s; the service manager's watchdog (10.0s) will restart the service",
        "A process stands still. If it does not go on, systemd's watchdog restarts the service; without one (WatchdogSec=) nobody does, and the line says so.",
        "Look whether somebody has stopped the process (SIGSTOP, a debugger); kill -CONT lets it go on.";
    ROLE_WAITS_FOR_DISK, "role-waits-for-disk", 0x88ad7f39826e44b38b9851add7847fd0, Warn, [Supervisor],
        "the writer (4711) has waited for the disk for 10s; it goes on when the disk answers",
        "The store's disk does not answer; clients wait for their echoes.",
        "Look at the disk (dmesg, iostat).";
    ROLE_GOES_ON, "role-goes-on", 0x105d21c55aff49a4805a6b3b104cb50a, Notice, [Supervisor],
        "the writer (4711) goes on, after 12.3s",
        "The end of role-hangs or role-waits-for-disk.",
        "Nothing.";
    CONTROL_NOT_WATCHED, "control-not-watched", 0xa5df7a214c7846609ee1f149399b3cab, Error, [Supervisor],
        "cannot watch the control socket: …; reload again",
        "status, reload and rotate do not reach this daemon.",
        "Reload by HUP. If it lasts: raise LimitNOFILE=.";
    COMMAND_NOT_TAKEN, "command-not-taken", 0x8eeb50fdce774a91abe612e9cfca3045, Warn, [Supervisor],
        "cannot take in a command: Too many open files; raise LimitNOFILE= if this lasts",
        "A status, reload or rotate was not heard.",
        "Raise LimitNOFILE= if this lasts.";
    COMMAND_TAKEN, "command-taken", 0xb85cfacf136f47e0afcaf983982414fa, Info, [Supervisor],
        "rotate was asked for",
        "Somebody gave a command over the control socket.",
        "Nothing.";
    NO_CONTROL_SOCKET, "no-control-socket", 0xb69177e5833040cab5e849b425eb764b, Notice, [Supervisor],
        "cannot make the control socket /run/echostored/control.sock: …; until then status, reload and rotate do not reach this daemon",
        "The daemon serves without its control socket; signals work.",
        "What the line says; set control.socket to a place that the daemon's user may write to.";
    NOT_KEPT_BY_MANAGER, "not-kept-by-manager", 0x00dda712db494f3da52380028486057c, Warn, [Supervisor],
        "the service manager cannot be given data.1 to keep: …",
        "After a kill of all processes at once, the next start will not find what was in the pipes.",
        "Compare FileDescriptorStoreMax= with the packaged unit.";
    RUN_CONTINUED, "run-continued", 0xa8fdb2c9dc3b4b388acb0c332394d284, Notice, [Supervisor],
        "going on where the last run was killed; its pipes hold 4096 bytes that are not in the store yet",
        "All processes had been killed; the service manager kept the pipes, and what is in them is stored now.",
        "Nothing.";
    RUN_NOT_CONTINUED, "run-not-continued", 0x17636757df7e4ff883aec50c33037323, Error, [Supervisor],
        "4096 bytes that the last run had not stored are lost, since …; none of it was echoed but in received mode",
        "What the service manager kept does not fit this start.",
        "Clients that heard no echo send again. In received mode tell who sent them.";
    STORE_MADE_AGAIN, "store-made-again", 0x5a9f8eef73344d43a2730f03bd065cbf, Notice, [Supervisor],
        "the store goes on in /var/lib/echostored, which is there again; what was in the deleted directory is gone",
        "Somebody deleted the store's directory; it was made again.",
        "Find out who did.";
    STORE_LOCKED_AGAIN, "store-locked-again", 0x2d5f0ed413c34dfb8d60ad96bd6825ac, Notice, [Supervisor],
        "the store /var/lib/echostored is locked again",
        "Somebody removed .lock or .store; they were made again.",
        "Find out who did.";
    STORE_NOT_MADE_AGAIN, "store-not-made-again", 0xbb40975267bc4414aea5794062d99899, Error, [Supervisor],
        "cannot make the store's directory …; trying again until it can",
        "The deleted store cannot be made again: nothing is stored or echoed.",
        "What the line says.";
    KEY_READABLE_BY_ALL, "key-readable-by-all", 0xaed424272fee41a4bc7f058e15beeebf, Warn, [Supervisor],
        "tls.key /etc/echostored/key.pem can be read by every user of this machine: chmod o= it",
        "The TLS key is no secret on this machine.",
        "chmod o= the file; have a new certificate if others may have read it.";
    SANDBOX_MISSING, "sandbox-missing", 0xa3cb4c0f9268408c8afa743d1e1e2ec7, Warn, [Supervisor],
        "this kernel has no Landlock: the processes run without (security.sandbox = \"auto\")",
        "The processes serve with fewer walls around them.",
        "A newer kernel, or one with it switched on (lsm=); or nothing; or security.sandbox = \"required\" to refuse to start.";
    SANDBOX_INCOMPLETE, "sandbox-incomplete", 0xecbb1707e7254babad88884635889dc1, Warn, [Supervisor, Worker, Writer, Archiver, Exporter],
        "cannot filter system calls: …; this process goes on without (security.sandbox = \"auto\")",
        "This process serves with fewer walls around it.",
        "If a container or a unit forbids the calls: allow landlock_* and seccomp there; or security.sandbox = \"required\" to refuse to start.";
    ROLE_FAILED, "role-failed", 0x5be17a70c7f6423c9995540cca584e64, Error, [Worker, Writer, Archiver, Exporter, HookRunner],
        "cannot go on serving: …",
        "This process cannot go on, says why, and ends; the supervisor replaces it.",
        "What the line says; the supervisor's next lines tell how it goes on.";
    SUPERVISOR_GONE, "supervisor-gone", 0xfb6afde328b446fd8042e84ea1a2ef68, Error, [Worker, Writer],
        "the supervisor is dead: storing what is on its way, then leaving",
        "Somebody has killed the supervisor. Each process ends in order; under systemd the service is restarted.",
        "Look who killed it (memory? an operator?). If it crashed by itself, report it. Without a service manager: start it again.";
    LINES_DROPPED, "lines-dropped", 0x5fbac1a83d5e42868622214b3ed24d8c, Warn, [Supervisor, Worker, Writer, Archiver, Exporter, HookRunner],
        "7 lines before this one were not logged: standard error did not take them",
        "The reader of the log was too slow, or had stopped; the service does not wait for it.",
        "Look at what reads the log (journald, a pipe).";
}
