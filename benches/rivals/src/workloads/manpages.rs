//! Paragraphs out of manual pages: enough of roff to read prose, and nothing more.

/// A paragraph, or the one line that says what a page is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Running text.
    Paragraph(String),
    /// What stands behind the dash in the first section: "open and possibly create a file".
    Title(String),
}

/// The prose of a page, in its order. Examples, tables and lists of signatures are left out.
pub(super) fn pieces(page: &str) -> Vec<Piece> {
    let mut reader = Reader::default();
    for line in page.lines() {
        reader.line(line);
    }
    reader.flush();
    reader.pieces
}

#[derive(Default)]
struct Reader {
    pieces: Vec<Piece>,
    text: String,
    sections: usize,
    /// Inside of an example or a table.
    verbatim: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some(macro_line) = line.strip_prefix(['.', '\'']) else {
            if !self.verbatim {
                self.add(&unescape(line));
            }
            return;
        };
        let mut words = macro_line.split_whitespace();
        match words.next().unwrap_or_default() {
            "SH" => {
                self.flush();
                self.sections += 1;
                self.verbatim = false;
            }
            "nf" | "EX" | "TS" => {
                self.flush();
                self.verbatim = true;
            }
            "fi" | "EE" | "TE" => self.verbatim = false,
            "PP" | "P" | "LP" | "TP" | "TQ" | "IP" | "HP" | "SS" | "RS" | "RE" | "sp" | "br" => self.flush(),
            "B" | "I" | "SM" | "SB" if !self.verbatim => {
                self.add(&unescape(&arguments(macro_line).join(" ")))
            }
            "BR" | "RB" | "IR" | "RI" | "BI" | "IB" if !self.verbatim => {
                self.add(&unescape(&arguments(macro_line).concat()));
            }
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(text.trim());
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            return;
        }
        // The first section holds the names of the page and what they are.
        self.pieces.push(match text.split_once(" - ") {
            Some((_, title)) if self.sections == 1 => Piece::Title(title.to_owned()),
            _ => Piece::Paragraph(text),
        });
    }
}

/// What stands behind the name of a macro; quotes hold spaces together.
fn arguments(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => arguments.push(std::mem::take(&mut current)),
            other => current.push(other),
        }
    }
    arguments.push(current);
    arguments.retain(|argument| !argument.is_empty());
    arguments.split_off(1.min(arguments.len()))
}

/// A line without the escapes of roff.
fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match rest.next() {
            // A comment.
            Some('"') => break,
            Some('-') => out.push('-'),
            Some('e') => out.push('\\'),
            Some(' ' | '~') => out.push(' '),
            Some('(') => out.push_str(special(&rest.by_ref().take(2).collect::<String>())),
            Some('[') => out.push_str(special(&rest.by_ref().take_while(|&c| c != ']').collect::<String>())),
            Some('f' | '*') => match rest.next() {
                Some('(') => drop(rest.by_ref().take(2).count()),
                Some('[') => drop(rest.by_ref().take_while(|&c| c != ']').count()),
                _ => {}
            },
            Some('s') => {
                if matches!(rest.clone().next(), Some('+' | '-')) {
                    rest.next();
                }
                rest.next();
            }
            _ => {}
        }
    }
    out
}

/// Characters by name, those that prose has.
fn special(name: &str) -> &'static str {
    match name {
        "aq" | "cq" | "oq" => "'",
        "dq" | "lq" | "rq" => "\"",
        "em" | "en" | "hy" => "-",
        "bu" => "*",
        "co" => "(c)",
        "rs" => "\\",
        "ti" => "~",
        "ha" => "^",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_read_and_examples_are_not() {
        let page = ".\\\" a comment\n.TH open 2\n.SH NAME\nopen \\- open a file\n.SH DESCRIPTION\nThe\n\
                    .BR open ()\nsystem call opens \\fIpathname\\fP.\n.PP\n.nf\nint fd;\n.fi\n.PP\n\
                    .B \"Two words\"\nend.\n";
        let expected = [
            Piece::Title("open a file".to_owned()),
            Piece::Paragraph("The open() system call opens pathname.".to_owned()),
            Piece::Paragraph("Two words end.".to_owned()),
        ];
        assert_eq!(pieces(page), expected);
    }
}
