//! The font of the report: Inter, cut down to the letters of western languages and a few signs. It comes along, so
//! that every plot looks the same on every machine, and so that its words can be measured.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ttf_parser::Face;

/// The file for text of normal weight.
pub const REGULAR: &[u8] = include_bytes!("../fonts/Inter-Regular.otf");
/// The file for bold text.
pub const BOLD: &[u8] = include_bytes!("../fonts/Inter-SemiBold.otf");

/// How wide a text is, in pixels.
#[must_use]
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    static FACES: LazyLock<[Option<Face<'static>>; 2]> =
        LazyLock::new(|| [REGULAR, BOLD].map(|file| Face::parse(file, 0).ok()));
    let Some(face) = &FACES[usize::from(bold)] else {
        // Half of the height is what letters take on average.
        return 0.55 * size * text.chars().count() as f64;
    };
    let em = f64::from(face.units_per_em());
    let advance = |letter| face.glyph_index(letter).and_then(|glyph| face.glyph_hor_advance(glyph));
    text.chars().map(|letter| advance(letter).map_or(0.6 * em, f64::from) * size / em).sum()
}

/// The rules that make a page use the font, with the files inside.
#[must_use]
pub fn css() -> String {
    let rule = |weight: &str, file: &[u8]| {
        let data = BASE64_STANDARD.encode(file);
        format!("@font-face{{font-family:Inter;font-weight:{weight};src:url(data:font/otf;base64,{data})}}")
    };
    rule("400", REGULAR) + &rule("600", BOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_faces_have_the_signs_of_a_report() {
        for file in [REGULAR, BOLD] {
            let face = Face::parse(file, 0).unwrap();
            for sign in "Az09×≥≤µ–…✓✗→ é".chars() {
                assert!(face.glyph_index(sign).is_some(), "{sign}");
            }
        }
        assert!(width("wide", 13.0, true) > width("ii", 13.0, true));
    }
}
