//! Tokens as strided views of memory, so that the parts of one packed projection are used where they lie.
//!
//! Guarantee: a view never reaches outside the slice it was made of, and two views that are written never overlap.

use std::marker::PhantomData;
use std::slice;

use crate::rows::ShapeError;
use crate::simd::prefetch;

/// Where the numbers of tokens lie in a slice.
#[derive(Clone, Copy, Debug)]
struct Layout {
    tokens: usize,
    width: usize,
    stride: usize,
}

impl Layout {
    fn new(len: usize, width: usize, stride: usize) -> Result<Self, ShapeError> {
        if width == 0 || stride < width {
            return Err(ShapeError(format!("tokens of {width} numbers cannot begin every {stride} numbers")));
        }
        Ok(Self { tokens: (len + stride - width) / stride, width, stride })
    }

    fn packed(len: usize, width: usize, parts: usize) -> Result<Self, ShapeError> {
        let stride = width * parts;
        if stride == 0 || !len.is_multiple_of(stride) {
            return Err(ShapeError(format!("{len} numbers are not tokens of {parts} parts of {width} each")));
        }
        Ok(Self { tokens: len / stride, width, stride })
    }

    fn check(self, name: &str, tokens: usize, width: usize) -> Result<(), ShapeError> {
        if (self.tokens, self.width) == (tokens, width) {
            return Ok(());
        }
        Err(ShapeError(format!("{name} has {} tokens of {}, not {tokens} of {width}", self.tokens, self.width)))
    }

    /// Where the numbers of a head begin in the first token of its batch element.
    ///
    /// # Panics
    /// When they are not all of the view.
    fn place(self, at: HeadAt) -> usize {
        let inside = (at.element + 1) * at.tokens <= self.tokens && (at.head + 1) * at.width <= self.width;
        assert!(inside, "beyond the view");
        at.element * at.tokens * self.stride + at.head * at.width
    }

    /// How far beyond the numbers of a head those lie that are wanted next: of the next head or the next batch element.
    fn ahead(self, at: HeadAt) -> usize {
        let column = at.head * at.width;
        if column + 2 * at.width <= self.width { at.width } else { at.tokens * self.stride - column }
    }
}

/// Which head of which batch element.
#[derive(Clone, Copy)]
pub(super) struct HeadAt {
    /// The batch element.
    pub(super) element: usize,
    /// Tokens of a batch element.
    pub(super) tokens: usize,
    /// The head.
    pub(super) head: usize,
    /// Numbers of a token in one head.
    pub(super) width: usize,
}

/// Tokens that are read, those of one batch element after those of another.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a, E> {
    data: &'a [E],
    layout: Layout,
}

impl<'a, E> Tokens<'a, E> {
    /// Tokens of `width` numbers, of which the first begins with the slice and the others every `stride` numbers.
    ///
    /// # Errors
    /// When tokens have no numbers or would overlap.
    pub fn new(data: &'a [E], width: usize, stride: usize) -> Result<Self, ShapeError> {
        Ok(Self { data, layout: Layout::new(data.len(), width, stride)? })
    }

    /// The parts of tokens that hold several of `width` numbers each, such as queries, keys and values.
    ///
    /// # Errors
    /// When the slice is not a whole number of such tokens.
    pub fn packed<const PARTS: usize>(data: &'a [E], width: usize) -> Result<[Self; PARTS], ShapeError> {
        let layout = Layout::packed(data.len(), width, PARTS)?;
        Ok(std::array::from_fn(|part| Self { data: data.get(part * width..).unwrap_or_default(), layout }))
    }

    /// Checks the number of tokens and their width.
    pub(super) fn check(&self, name: &str, tokens: usize, width: usize) -> Result<(), ShapeError> {
        self.layout.check(name, tokens, width)
    }

    /// The view of one head of one batch element.
    pub(super) fn head(self, at: HeadAt) -> Head<'a, E> {
        let Self { data, layout } = self;
        let data = data.get(layout.place(at)..).unwrap_or_default();
        Head { data, stride: layout.stride, width: at.width, ahead: layout.ahead(at) }
    }
}

/// The numbers of one head in the tokens of one batch element, and of what lies behind.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, E> {
    data: &'a [E],
    stride: usize,
    width: usize,
    ahead: usize,
}

impl<'a, E> Head<'a, E> {
    /// Numbers of a token.
    #[inline(always)]
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Some numbers of a token, from a column on. Asks for the same of the next head too, since its lines are too far
    /// apart for the processor to guess.
    #[inline(always)]
    pub(super) fn part(&self, token: usize, column: usize, len: usize) -> &'a [E] {
        let place = token * self.stride + column;
        prefetch(self.data.as_ptr().wrapping_add(place + self.ahead), len);
        &self.data[place..][..len]
    }
}

/// Tokens that are written, those of one batch element after those of another.
#[derive(Debug)]
pub struct TokensMut<'a, E> {
    data: *mut E,
    layout: Layout,
    lifetime: PhantomData<&'a mut [E]>,
}

// SAFETY: the view stands for `&mut` of its numbers, and is used through `&self` only by `head`, whose callers vouch
// that no number is in two hands.
unsafe impl<E: Send> Sync for TokensMut<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Send> Send for TokensMut<'_, E> {}

impl<'a, E> TokensMut<'a, E> {
    /// Tokens of `width` numbers, of which the first begins with the slice and the others every `stride` numbers.
    ///
    /// # Errors
    /// When tokens have no numbers or would overlap.
    pub fn new(data: &'a mut [E], width: usize, stride: usize) -> Result<Self, ShapeError> {
        let layout = Layout::new(data.len(), width, stride)?;
        Ok(Self { data: data.as_mut_ptr(), layout, lifetime: PhantomData })
    }

    /// The parts of tokens that hold several of `width` numbers each, such as the gradients of queries, keys and values.
    ///
    /// # Errors
    /// When the slice is not a whole number of such tokens.
    pub fn packed<const PARTS: usize>(data: &'a mut [E], width: usize) -> Result<[Self; PARTS], ShapeError> {
        let layout = Layout::packed(data.len(), width, PARTS)?;
        let data = data.as_mut_ptr();
        // The parts are columns side by side, so no two views have a number in common.
        Ok(std::array::from_fn(|part| Self { data: data.wrapping_add(part * width), layout, lifetime: PhantomData }))
    }

    /// Checks the number of tokens and their width.
    pub(super) fn check(&self, name: &str, tokens: usize, width: usize) -> Result<(), ShapeError> {
        self.layout.check(name, tokens, width)
    }

    /// The view of one head of one batch element.
    ///
    /// # Safety
    /// While it lives there is no other view of the same head of the same batch element.
    pub(super) unsafe fn head(&self, at: HeadAt) -> HeadMut<'_, E> {
        let Self { data, layout, .. } = self;
        let data = data.wrapping_add(layout.place(at));
        let Layout { stride, .. } = *layout;
        HeadMut { data, tokens: at.tokens, stride, width: at.width, ahead: layout.ahead(at), lifetime: PhantomData }
    }
}

/// The numbers of one head in the tokens of one batch element, to be written.
pub(super) struct HeadMut<'a, E> {
    data: *mut E,
    tokens: usize,
    stride: usize,
    width: usize,
    ahead: usize,
    lifetime: PhantomData<&'a mut [E]>,
}

impl<E: Copy> HeadMut<'_, E> {
    /// Numbers of a token.
    #[inline(always)]
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Some numbers of a token, from a column on. Asks for the same of the next head too.
    ///
    /// # Panics
    /// When they are not all of the head.
    #[inline(always)]
    pub(super) fn part_mut(&mut self, token: usize, column: usize, len: usize) -> &mut [E] {
        assert!(token < self.tokens && column + len <= self.width, "beyond the head");
        let part = self.data.wrapping_add(token * self.stride + column);
        prefetch(part.wrapping_add(self.ahead).cast_const(), len);
        // SAFETY: these numbers are of the head, which `place` found to lie in the view, which was made of a slice that
        // holds it; whoever made this head vouched that it is the only one, and it is borrowed while the numbers are.
        unsafe { slice::from_raw_parts_mut(part, len) }
    }

    /// Gives every number of a token one value.
    pub(super) fn fill(&mut self, token: usize, value: E) {
        self.part_mut(token, 0, self.width).fill(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_packed_tokens_lie_side_by_side() {
        let at = HeadAt { element: 0, tokens: 2, head: 0, width: 2 };
        let mut data: Vec<u16> = (0..12).collect();
        let parts: [_; 3] = Tokens::packed(&data, 2).unwrap();
        let rows = parts.map(|part| [part.head(at).part(0, 0, 2), part.head(at).part(1, 0, 2)].concat());
        assert_eq!(rows.concat(), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        let second = HeadAt { element: 1, tokens: 1, head: 1, width: 1 };
        assert_eq!(Tokens::new(&data[2..], 2, 6).unwrap().head(second).part(0, 0, 1), [9]);
        let parts: [_; 3] = TokensMut::packed(&mut data, 2).unwrap();
        for (number, part) in (100..).zip(&parts) {
            // SAFETY: the views are of different parts.
            unsafe { part.head(second) }.fill(0, number);
        }
        assert_eq!(data, [0, 1, 2, 3, 4, 5, 6, 100, 8, 101, 10, 102]);
    }

    #[test]
    fn a_view_that_cannot_be_is_refused() {
        let tokens = |len, width, stride| Tokens::new(&[0.0_f32; 20][..len], width, stride);
        assert!(tokens(20, 4, 3).unwrap_err().to_string().contains("tokens of 4 numbers cannot begin every 3"));
        assert!(tokens(20, 0, 3).is_err());
        // The last token need not be followed by what lies between two.
        let counts = [0, 3, 4, 9, 10, 20].map(|len| tokens(len, 4, 6).unwrap().layout.tokens);
        assert_eq!(counts, [0, 0, 1, 1, 2, 3]);
        let error = tokens(20, 4, 6).unwrap().check("q", 3, 5).unwrap_err().to_string();
        assert_eq!(error, "q has 3 tokens of 4, not 3 of 5");
        assert!(Tokens::<f32>::packed::<3>(&[0.0; 20], 4).unwrap_err().to_string().contains("20 numbers"));
        assert!(Tokens::<f32>::packed::<3>(&[], 0).is_err());
    }

    #[test]
    #[should_panic(expected = "beyond the view")]
    fn a_head_beyond_the_last_is_not_read() {
        Tokens::new(&[0.0_f32; 20], 4, 5).unwrap().head(HeadAt { element: 2, tokens: 2, head: 0, width: 4 });
    }

    #[test]
    #[should_panic(expected = "beyond the head")]
    fn a_token_beyond_the_last_is_not_written() {
        let mut data = [0.0_f32; 20];
        let tokens = TokensMut::new(&mut data, 4, 5).unwrap();
        // SAFETY: it is the only view.
        unsafe { tokens.head(HeadAt { element: 0, tokens: 2, head: 1, width: 2 }) }.fill(2, 1.0);
    }
}
