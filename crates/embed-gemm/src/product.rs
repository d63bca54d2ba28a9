//! One call of [`Gemm::sums`](crate::Gemm::sums): its slices, checked once, and the tiles that the paths compute of it.

use crate::panels::{COLUMNS, DEPTH};

/// Rows, panels and sums whose lengths fit each other.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    rows: &'a [u8],
    depth: usize,
    panels: &'a [i8],
    sums: &'a mut [i32],
}

/// The rows and panels of one tile, and its place in the sums. The lengths are what the loops over pointers rely on, so only
/// [`Product::tile`] makes one.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    rows: &'a [u8],
    depth: usize,
    panels: &'a [i8],
    sums: &'a mut [i32],
    width: usize,
}

/// Pointers of a tile of `height` rows and `count` panels.
#[derive(Debug)]
pub(crate) struct Pointers {
    /// `height · depth` bytes, to be read.
    pub(crate) rows: *const u8,
    /// A positive multiple of [`DEPTH`]: the distance from a row to the next.
    pub(crate) depth: usize,
    /// `count · COLUMNS · depth` bytes, to be read.
    pub(crate) panels: *const i8,
    /// From here `count · COLUMNS` sums of each row, to be written.
    pub(crate) sums: *mut i32,
    /// The distance from the sums of a row to those of the next.
    pub(crate) width: usize,
}

impl<'a> Product<'a> {
    /// # Panics
    ///
    /// If the lengths don't fit.
    pub(crate) fn new(rows: &'a [u8], depth: usize, panels: &'a [i8], sums: &'a mut [i32]) -> Self {
        assert!(depth > 0 && depth.is_multiple_of(DEPTH), "rows are padded to a multiple of {DEPTH} bytes");
        assert!(rows.len().is_multiple_of(depth), "rows are whole");
        assert!(panels.len().is_multiple_of(depth * COLUMNS), "panels are whole and as deep as the rows");
        assert_eq!(
            rows.len() / depth * (panels.len() / depth),
            sums.len(),
            "as many sums as rows times outputs"
        );
        Self { rows, depth, panels, sums }
    }

    /// How many rows there are.
    pub(crate) fn height(&self) -> usize {
        self.rows.len() / self.depth
    }

    /// How many panels there are.
    pub(crate) fn panels(&self) -> usize {
        self.panels.len() / (self.depth * COLUMNS)
    }

    /// The tile of `height` rows from `row` on and `count` panels from `panel` on.
    ///
    /// # Panics
    ///
    /// If it isn't within the product, or is empty.
    pub(crate) fn tile(&mut self, row: usize, height: usize, panel: usize, count: usize) -> Tile<'_> {
        assert!(height > 0 && count > 0 && panel + count <= self.panels());
        let (depth, width) = (self.depth, self.panels() * COLUMNS);
        let rows = &self.rows[row * depth..(row + height) * depth];
        let panels = &self.panels[panel * COLUMNS * depth..(panel + count) * COLUMNS * depth];
        let last = (row + height - 1) * width + (panel + count) * COLUMNS;
        let sums = &mut self.sums[row * width + panel * COLUMNS..last];
        Tile { rows, depth, panels, sums, width }
    }
}

impl<'a> Tile<'a> {
    /// The bytes of its rows, its panels, and its sums, for a tile of one row and one panel.
    pub(crate) fn slices(self) -> (&'a [u8], &'a [i8], &'a mut [i32]) {
        (self.rows, self.panels, self.sums)
    }

    /// The pointers, for as many rows and panels.
    ///
    /// # Panics
    ///
    /// If the tile has other numbers of rows or panels.
    #[inline]
    pub(crate) fn pointers(&mut self, height: usize, count: usize) -> Pointers {
        assert!(self.rows.len() == height * self.depth && self.panels.len() == count * COLUMNS * self.depth);
        Pointers {
            rows: self.rows.as_ptr(),
            depth: self.depth,
            panels: self.panels.as_ptr(),
            sums: self.sums.as_mut_ptr(),
            width: self.width,
        }
    }
}

/// Cuts so many rows into as few tiles as possible of at most `at_most` rows, of nearly the same height: the first row and the
/// height of each. A tile of a row or two would wait for its own sums.
pub(crate) fn heights(rows: usize, at_most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = rows.div_ceil(at_most);
    (0..tiles).map(move |tile| {
        let first = rows * tile / tiles;
        (first, rows * (tile + 1) / tiles - first)
    })
}
