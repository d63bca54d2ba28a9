//! Points in a long run at which shorter work may go first.
//!
//! A run can't be stopped, and one of 512 tokens may take a third of a second. So the operators of the model call [`point`]
//! several times in each layer, and the caller of the run decides what is done there.

use std::cell::Cell;
use std::rc::Rc;

thread_local! {
    /// What is done at the points of the current run of this thread. It is `None` while that is being done, so that the points
    /// of a nested run do nothing.
    static AT_POINTS: Cell<Option<Rc<dyn Fn()>>> = const { Cell::new(None) };
}

/// Does work, and calls `at_points` at its points.
pub(crate) fn with_points<R>(at_points: Rc<dyn Fn()>, work: impl FnOnce() -> R) -> R {
    let _outer = Restore(AT_POINTS.replace(Some(at_points)));
    work()
}

/// A point of a run: does what was set for this thread, if anything.
pub(crate) fn point() {
    if let Some(at_points) = AT_POINTS.take() {
        let _restore = Restore(Some(Rc::clone(&at_points)));
        at_points();
    }
}

/// Restores the previous value, even after a panic.
struct Restore(Option<Rc<dyn Fn()>>);

impl Drop for Restore {
    fn drop(&mut self) {
        AT_POINTS.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_those_of_the_innermost_work() {
        let count = Rc::new(Cell::new(0));
        let counts = |by: i32| {
            let count = Rc::clone(&count);
            Rc::new(move || {
                count.set(count.get() + by);
                // Inside of what is done at a point there is none.
                point();
            })
        };
        point();
        with_points(counts(1), || {
            point();
            with_points(counts(10), point);
            point();
        });
        point();
        assert_eq!(count.get(), 12);
    }
}
