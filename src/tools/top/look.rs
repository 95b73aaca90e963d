//! Colours and symbols: by the terminal's own sixteen colours, so that light and dark ones are read equally well; without
//! colours, and without characters beyond ASCII, where these are not to be had. Nothing is told by a colour alone.
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

/// How good it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Neither.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Somebody has to do something.
    Bad,
}

impl Level {
    /// What stands before it.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Plain | Self::Good => " ",
            Self::Warn => "!",
            Self::Bad => "#",
        }
    }
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub colour: bool,
    /// Blocks and lines; else ASCII.
    pub unicode: bool,
}

/// Levels of ASCII.
const ASCII: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "*",
    five_eighths: "*",
    half: "+",
    three_eighths: "+",
    one_quarter: "-",
    one_eighth: ".",
    empty: " ",
};

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Of a word of this level.
    pub fn level(self, level: Level) -> Style {
        match level {
            Level::Plain => Style::new(),
            Level::Good => self.colour(Color::Green),
            Level::Warn => self.colour(Color::Yellow).add_modifier(Modifier::BOLD),
            Level::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// Of curves and bars.
    pub fn figure(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// Of a part's title.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of what is read only when it is looked for.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What of `text` can be shown.
    pub fn text(self, text: &str) -> String {
        let ascii = |c| match c {
            '\0'..='\x7f' => c,
            'µ' => 'u',
            '·' => '|',
            _ => '?',
        };
        if self.unicode { text.to_owned() } else { text.chars().map(ascii).collect() }
    }

    /// Columns by eighths.
    pub fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { ASCII }
    }

    /// What fills a line from a title to the end.
    pub fn rule(self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// A bar of so many cells; the second part is what is not filled.
    pub fn bar(self, share: f64, width: u16) -> (String, String) {
        let eighths = (share.clamp(0.0, 1.0) * f64::from(width) * 8.0).round() as usize;
        // Something is not nothing.
        let eighths = if share > 0.0 && width > 0 { eighths.max(1) } else { 0 };
        let (full, rest) = (eighths / 8, eighths % 8);
        let (block, parts, empty) = if self.unicode {
            ("█", ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"], "░")
        } else {
            ("#", ["", "-", "-", "-", "=", "=", "=", "="], ".")
        };
        let filled = block.repeat(full) + parts[rest];
        let left = usize::from(width).saturating_sub(full + usize::from(rest > 0));
        (filled, empty.repeat(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_wide_as_they_are_told() {
        for (unicode, width, share) in
            [(true, 10, 0.51), (false, 10, 0.51), (true, 1, 1.0), (false, 0, 0.5), (true, 7, f64::NAN)]
        {
            let (filled, empty) = Look { colour: false, unicode }.bar(share, width);
            assert_eq!(filled.chars().count() + empty.chars().count(), usize::from(width), "{share}");
        }
        let look = Look { colour: false, unicode: false };
        assert_eq!(look.bar(0.5, 4), ("##".to_owned(), "..".to_owned()));
        assert_eq!(look.bar(0.0001, 4), ("-".to_owned(), "...".to_owned()));
        assert_eq!(look.bar(7.0, 2), ("##".to_owned(), String::new()));
    }

    #[test]
    fn without_colours_there_are_none() {
        let look = Look { colour: false, unicode: true };
        let styles = [Level::Plain, Level::Good, Level::Warn, Level::Bad].map(|level| look.level(level));
        for style in styles.into_iter().chain([look.figure(), look.title(), look.quiet()]) {
            assert_eq!((style.fg, style.bg), (None, None));
        }
    }
}
