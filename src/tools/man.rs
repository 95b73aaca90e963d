//! `echostored man`: the manual page echostored(8). What the command line knows comes from there; the rest of the page is
//! `packaging/man/echostored.8.in`, which stands behind it.
use clap::Command;
use clap_mangen::Man;
use std::io;

/// What no command line knows: signals, exit status, files, environment, examples.
const REST: &str = include_str!("../../packaging/man/echostored.8.in");

/// The crate's own leaves out an empty date, and what follows moves up. Before it what the crate's apostrophes need.
const TITLE: &str = concat!(
    ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n",
    ".TH ECHOSTORED 8 \"\" \"echostored ",
    env!("CARGO_PKG_VERSION"),
    "\" \"System Manager's Manual\"\n"
);

/// The page in roff: every command of `program` with its options, then the rest.
///
/// # Errors
/// None that a memory buffer does not make.
pub fn page(program: Command) -> io::Result<Vec<u8>> {
    let man = Man::new(program.clone());
    let mut parts = Vec::new();
    man.render_name_section(&mut parts)?;
    parts.extend_from_slice(b".SH SYNOPSIS\n\\fBechostored\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n");
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    parts.extend_from_slice(b".SH COMMANDS\n");
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        parts.extend_from_slice(&section(command)?);
    }
    Ok([TITLE.as_bytes(), &without(&[".ie ", ".el "], &parts), REST.as_bytes()].concat())
}

/// One command, as a subsection: the parts of a page of its own, without their headings.
fn section(command: &Command) -> io::Result<Vec<u8>> {
    let name = command.get_name();
    // --help stands at the top of the page.
    let man = Man::new(command.clone().disable_help_flag(true).bin_name(format!("echostored {name}")));
    let mut parts = format!(".SS {name}\n").into_bytes();
    man.render_synopsis_section(&mut parts)?;
    parts.extend_from_slice(b".PP\n");
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    Ok(without(&[".SH "], &parts))
}

/// `page` without the lines that begin with one of these.
fn without(starts: &[&str], page: &[u8]) -> Vec<u8> {
    let lines = page.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !starts.iter().any(|start| line.starts_with(start.as_bytes()))).flatten().copied().collect()
}
