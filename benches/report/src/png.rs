//! A plot as PNG, at twice its size, for where SVG isn't shown.

use std::sync::Arc;

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use crate::chart::Chart;
use crate::font;

const SCALE: f32 = 2.0;

/// Paints a plot.
///
/// # Errors
///
/// If the plot can't be read back or is too large, which would be a fault of this crate.
pub fn paint(chart: &Chart) -> Result<Vec<u8>> {
    let mut fonts = Database::new();
    fonts.load_font_data(font::REGULAR.to_vec());
    fonts.load_font_data(font::BOLD.to_vec());
    let options = Options { font_family: "Inter".to_owned(), fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(&chart.plain(), &options).context("a plot is no SVG")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("a plot is too large for PNG")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("a plot is too large for PNG")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("a plot can't be written as PNG")
}
