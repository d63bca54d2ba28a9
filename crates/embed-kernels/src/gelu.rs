//! The middle of the feed-forward part.

use pulp::{Simd, WithSimd};

use crate::math;
use crate::output::RowsOutput;
use crate::processor::Processor;
use crate::product::{Product, ProductRows};

/// GELU of the rows of `product` from `first` on, as many as there is room for. Every row depends only on its input row, to
/// the bit.
///
/// # Panics
///
/// If the product has fewer rows.
pub fn gelu(processor: Processor, (product, first): (Product<'_>, usize), out: RowsOutput<'_>) {
    match product {
        Product::Single(product) => processor.0.dispatch(GeluRows { product: (product, first), out }),
        Product::Integer(product) => processor.0.dispatch(GeluRows { product: (product, first), out }),
    }
}

/// The work on some rows.
struct GeluRows<'a, R> {
    product: (R, usize),
    out: RowsOutput<'a>,
}

impl<R: ProductRows> WithSimd for GeluRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (product, first) = self.product;
        self.out.write(
            simd,
            product.width(),
            #[inline(always)]
            |row, out| {
                product.read(first + row, 0, out);
                for value in out {
                    *value = math::gelu(*value);
                }
            },
        );
    }
}
