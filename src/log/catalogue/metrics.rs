//! The exporter, by itself and by the supervisor.
use super::Event;

super::events! {
    METRICS_LISTENING, "metrics-listening", 0x0810a35c1ba34e4c9eb8f7479f731335, Notice, [Supervisor],
        "metrics on 127.0.0.1:9464",
        "Metrics are served at this address from now on.",
        "Nothing. If others can reach the address, see who may: there is no authentication.";
    EXPORTER_ENDED, "exporter-ended", 0xcd4c8252d7d14ac3942cf891c9ef5792, Warn, [Supervisor],
        "exporter 4711 ended: killed by KILL; it is replaced, nothing else is touched",
        "The exporter died; a new one serves metrics.",
        "Look who killed it. If it crashed by itself, report it.";
    EXPORTER_KEEPS_DYING, "exporter-keeps-dying", 0x4e01f458418a496492bed52c575a8ed7, Error, [Supervisor],
        "the exporter keeps dying without serving metrics; next try in 100ms, and at last every 10s",
        "There are no metrics between the tries; messages are stored and echoed.",
        "The lines before this one say why it dies. Mend that; it goes on by itself.";
    EXPORTER_DISTRUSTED, "exporter-distrusted", 0x11e8afb7218647828b496175d1f9e893, Error, [Supervisor],
        "exporter 4711: it says what no exporter says; it is killed",
        "The exporter said something over its control channel that none of ours says: it may have been broken into.",
        "Keep the log, see who reaches metrics.listen, update echostored.";
    EXPORTER_HANGS, "exporter-hangs", 0x0184882bcb5c4830829d3a6b17a475af, Error, [Supervisor],
        "the exporter (4711) hangs: it has not moved for 30s; it is replaced",
        "The exporter stands still.",
        "Look whether somebody has stopped it (SIGSTOP, a debugger). If it happens again, report it.";
    REPORT_NOT_MADE, "report-not-made", 0x717ccffaf2274615858ac3229007c12e, Warn, [Supervisor],
        "cannot make a report for the exporter: Too many open files (os error 24); it is tried again",
        "Metrics are answered by 503 meanwhile.",
        "If it lasts: raise LimitNOFILE=.";
    METRICS_NOT_ACCEPTED, "metrics-not-accepted", 0x5fe0bee1911a4d5cb2599c68dbf1211c, Warn, [Exporter],
        "cannot accept connections for metrics: Too many open files (os error 24); it is tried again every 1s",
        "Scrapes wait, or fail, meanwhile.",
        "If it lasts: raise LimitNOFILE=.";
    METRICS_ACCEPTED_AGAIN, "metrics-accepted-again", 0x9ff9809bdd7b454187820c8738478d59, Notice, [Exporter],
        "connections for metrics are accepted again, after 12 tries",
        "The end of metrics-not-accepted: for ten seconds none failed.",
        "Nothing.";
}
