//! The longer sentences. Pure.
use super::options::Target;
use super::window::Foreign;

/// That what came back is no echo.
pub fn foreign(server: &Target, unit: &str, foreign: &Foreign) -> String {
    match foreign {
        Foreign::Differs { line, byte, sent, came } => format!(
            "{server} is no echo server: at {unit} {line}, byte {byte}, {sent:#04x} was sent and {came:#04x} came back"
        ),
        Foreign::Unasked(bytes) => {
            let shown = bytes.escape_ascii();
            format!("{server} is no echo server: this came back and was not sent: \"{shown}\"")
        }
    }
}

/// What may be wrong with a message, or a server, that brings no echo again and again.
pub fn suspicion(unit: &str, line: u64, length: usize, times: u32) -> String {
    format!(
        "{unit} {line} ({length} bytes) was sent {times} times and never echoed: is it longer than the server's \
         server.max-message-size, is the server's disk full, is its framing another one, or does it refuse us?"
    )
}
