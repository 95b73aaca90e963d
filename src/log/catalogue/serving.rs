//! What the workers say of clients.
use super::Event;

super::events! {
    MESSAGE_TOO_LARGE, "message-too-large", 0xeae5adce55a1463ea8e1f55a9405b1bb, Warn, [Worker],
        "192.0.2.7:53210 sent a message above server.max-message-size; closing",
        "What came before it is stored and echoed, then the connection is closed.",
        "Look at the sender; raise server.max-message-size, or choose server.on-oversize = \"split\".";
    FRAMING_BROKEN, "framing-broken", 0xcd84579e2f45486689da2f04fed456a6, Warn, [Worker],
        "192.0.2.7:53210 broke the framing (a length that is no number); closing",
        "What came before is stored and echoed, then the connection is closed.",
        "Sender and server.framing must agree.";
    ECHOES_NOT_READ, "echoes-not-read", 0x55cd2d5f299b4cbd993cdd7ed7856597, Warn, [Worker],
        "192.0.2.7:53210 did not read its echoes for limits.write-timeout; closed",
        "The client sends, and does not read its receipts. What it sent is stored.",
        "A client must read its echoes; or raise limits.write-timeout.";
    EVICTED, "evicted", 0x42c7290bf31b45a4aeed5212417c566d, Warn, [Worker],
        "192.0.2.7:53210 did not finish a message while memory was short; closing",
        "The worker's memory (limits.max-buffered) was used up, and this client held a part of it.",
        "Raise limits.max-buffered, or set limits.max-connections-per-ip.";
    NO_PROXY_HEADER, "no-proxy-header", 0xc694bc1b9a7e401bab3a6b5d46afe421, Warn, [Worker],
        "192.0.2.7:53210, one of proxy.from, sent no PROXY header; closing",
        "Somebody at a proxy's address who is not the proxy, or a proxy that is not told to send the header.",
        "send-proxy-v2 at the proxy; take other addresses out of proxy.from.";
    HANDSHAKE_FAILED, "handshake-failed", 0xf4a572027c574c8f976ce71f28ee04e3, Warn, [Worker],
        "TLS handshake with 192.0.2.7:53210 failed: …; closing",
        "A client that does not speak TLS, does not trust the certificate, or has none that tls.client-ca signed.",
        "The reason in the line names it.";
    TLS_BROKEN, "tls-broken", 0x03e7a76e75b140038256edf42a77694e, Warn, [Worker],
        "TLS with 192.0.2.7:53210 broke: …; closing",
        "After its handshake the client sent what is no TLS.",
        "Look at the client, and at what stands between.";
    ENTRY_LATE, "entry-late", 0x1fec8e48dc76436ab2c59046a90a80b4, Warn, [Worker],
        "192.0.2.7:53210 did not bring a TLS handshake in time; closing",
        "The client (or proxy) connected and did not begin in time.",
        "Look at the client; health checks of load balancers do this.";
    DENIED, "denied", 0x5bf7fe89c5e847dab84a76e471b99508, Warn, [Worker],
        "192.0.2.7:53210 may not connect (limits.allow, limits.deny); closed",
        "The address is not one that may come in (`denied` in the status).",
        "If it should: limits.allow and limits.deny.";
    TOO_MANY_OF_ADDRESS, "too-many-of-address", 0xf1557e97a5514c8baee516a3c0143367, Warn, [Worker],
        "192.0.2.7:53210 is one too many: limits.max-connections-per-ip is reached for its address; closed",
        "The address has as many connections as it may (`too_many` in the status); or more than some 25,000 addresses in one worker cannot be counted. Behind a NAT many clients have one address.",
        "Raise limits.max-connections-per-ip if they are honest, or look why the client opens so many; for many addresses, more workers.";
    SILENT, "silent", 0xb85e73737452448894581f7c52c04aa1, Warn, [Worker],
        "192.0.2.7:53210 sent no whole message for limits.idle-timeout; closing",
        "The client was there, and said nothing (`idle` or `late` in the status).",
        "Raise limits.idle-timeout or limits.first-message-timeout if clients are right to be silent.";
    RATE_LIMITED, "rate-limited", 0x98a6a8830a7f4cb9811d5557b69a333a, Warn, [Worker],
        "192.0.2.7:53210 waits: its address is over limits.max-rate-per-ip or max-byte-rate-per-ip",
        "The client is slowed down, and nothing of it is lost (`delayed` in the status).",
        "Raise the rate, or look why the client sends so much.";
    CONNECTIONS_FULL, "connections-full", 0x972d76a9dc154190a5438cdc8abb0c2b, Warn, [Worker],
        "limits.max-connections is reached; new clients wait until others leave",
        "Clients wait in the backlog (`accept_pauses` in the status grows by one each second while that lasts).",
        "Raise limits.max-connections (and LimitNOFILE=), or set limits.idle-timeout.";
    ACCEPT_FAILED, "accept-failed", 0x51f4da5b4d824dc9994d65ca4e3f6ad7, Warn, [Worker],
        "cannot accept a connection: Too many open files; it is tried ten times a second; raise LimitNOFILE= if this lasts",
        "The worker has no descriptor, or no memory, for another connection; who is inside is served, others wait in the backlog (`accept_pauses` in the status counts the tries).",
        "Raise LimitNOFILE= if this lasts.";
    ACCEPTING_AGAIN, "accepting-again", 0x2d2e31ae94574e588ef9bf8ddcc28714, Notice, [Worker],
        "connections are accepted again without a pause, after 17 of them",
        "The end of accept-failed or connections-full: for ten seconds accepting did not pause.",
        "Nothing.";
    CONNECTION_OPENED, "connection-opened", 0xc966e6dab8f0491a83e923785226e0c9, Info, [Worker],
        "192.0.2.7:53210 connected to 0.0.0.0:7007 over tls as CN=sensor-7: 01JD9Z0Q4X",
        "Only with log.access = true: a client came in.",
        "Nothing.";
    CONNECTION_CLOSED, "connection-closed", 0x0de87187962d43848078d21fe2a69807, Info, [Worker],
        "192.0.2.7:53210 left (client closed): 01JD9Z0Q4X, 12 messages, 1548 bytes in, 1548 echoed, 3.200 s",
        "Only with log.access = true: a client is gone, and why.",
        "Nothing.";
}
