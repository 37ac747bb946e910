//! Images laid out for convolutions: each tap of neighbouring windows lies side by side.
//!
//! Along an axis with stride `s`, tap `t` of window `o` lies at `o * s + t * dilation - pad`. Elements whose places have the
//! same remainder modulo `s`, a phase, are laid side by side, the padding among them. So tap `t` of window `o` is element
//! `o + t * dilation / s` of phase `t * dilation % s`: for every tap the windows of a row lie one behind the other, and rows of
//! windows lie as far apart for all taps. Windows are counted along the laid-out rows, those between the rows' ends, which
//! are none, included. A band is a run of windows along the first axis, a unit each.

mod lay;

pub(super) use lay::Laid;

use super::call::Call;
use super::window::{Axis, room};
use crate::device::cpu::product::{LANES, Strips};
use actc_types::Result;
use std::ops::Range;

/// Elements that all channels must not lie apart by a multiple of: a page.
const PAGE: usize = 1024;

/// An axis, laid out.
struct Line {
    axis: Axis,
    /// The phases that taps lie in.
    phases: Vec<usize>,
    /// Elements that the last tap lies behind the first one of its phase.
    reach: usize,
}

impl Line {
    fn new(axis: Axis) -> Line {
        let places = (0..axis.kernel).map(|t| t * axis.dilation);
        let mut phases: Vec<usize> = places.map(|p| p % axis.stride).collect();
        phases.sort_unstable();
        phases.dedup();
        Line { axis, phases, reach: (axis.kernel - 1) * axis.dilation / axis.stride }
    }

    /// Where element `o` of `phase` lies, if in the image.
    fn place(&self, o: usize, phase: usize) -> Option<usize> {
        (o * self.axis.stride + phase).checked_sub(self.axis.pad).filter(|p| *p < self.axis.image)
    }

    /// Of `extent` elements of a phase, `first` windows into the axis, those that lie in the image, and the place of the first.
    fn inside(&self, phase: usize, first: usize, extent: usize) -> (Range<usize>, usize) {
        let Axis { stride, pad, image, .. } = self.axis;
        let start = first * stride + phase;
        let from = pad.saturating_sub(start).div_ceil(stride).min(extent);
        let to = (image + pad).saturating_sub(start).div_ceil(stride).clamp(from, extent);
        (from..to, if from < to { start + from * stride - pad } else { 0 })
    }
}

/// How the windows of a convolution lie.
pub(super) struct Spread {
    lines: Vec<Line>,
}

impl Spread {
    pub(super) fn new(axes: &[Axis]) -> Spread {
        // Axes of one element and one window say nothing.
        let idle = |a: &&Axis| a.image == 1 && a.windows == 1 && a.kernel == 1 && a.pad == 0;
        let mut lines: Vec<Line> = axes.iter().filter(|a| !idle(a)).map(|a| Line::new(*a)).collect();
        if lines.is_empty() {
            lines.push(Line::new(Axis::SINGLE));
        }
        Spread { lines }
    }

    /// Number of units.
    pub(super) fn units(&self) -> usize {
        self.lines[0].axis.windows
    }

    /// Elements of a phase for each unit, the windows in between included.
    fn pitch(&self) -> usize {
        self.lines[1..].iter().fold(1, |n, l| n.saturating_mul(l.axis.windows + l.reach))
    }

    fn phases(&self) -> usize {
        self.lines.iter().map(|l| l.phases.len()).product()
    }

    /// Units of a band whose `channels` channels have about `elements` elements, at least one.
    pub(super) fn most(&self, channels: usize, elements: usize) -> usize {
        let unit = self.pitch().saturating_mul(self.phases()).saturating_mul(channels);
        (elements / unit.max(1)).saturating_sub(self.lines[0].reach).max(1)
    }
}

/// A run of windows of one row that lie in one strip.
pub(super) struct Piece {
    /// Their lanes.
    pub lanes: Range<usize>,
    /// The first of them among the windows of the band.
    pub to: usize,
}

/// Sizes of a band.
struct Extents {
    /// Elements of a phase along each axis.
    axes: Vec<usize>,
    /// Elements of a phase, and from channel to channel.
    plane: usize,
    channel: usize,
    channels: usize,
    size: usize,
}

impl Extents {
    /// `None` where they exceed the address space.
    fn of(spread: &Spread, units: usize, channels: usize) -> Option<Extents> {
        let along = |(i, l): (usize, &Line)| if i == 0 { units } else { l.axis.windows } + l.reach;
        let axes: Vec<usize> = spread.lines.iter().enumerate().map(along).collect();
        let plane = axes.iter().try_fold(1usize, |n, e| n.checked_mul(*e))?;
        let channel = plane.checked_mul(spread.phases())?;
        let channel = if channel.is_multiple_of(PAGE) { channel.checked_add(LANES)? } else { channel };
        let size = channel.checked_mul(channels)?.checked_add(LANES)?;
        Some(Extents { axes, plane, channel, channels, size })
    }
}

/// A band of some units.
pub(super) struct Band<'a> {
    spread: &'a Spread,
    extents: Extents,
    /// Where each tap of each channel begins.
    offsets: Vec<usize>,
    pieces: Vec<Piece>,
    /// For each strip its pieces.
    strips: Vec<Range<usize>>,
}

impl<'a> Band<'a> {
    /// A band of `units` units of `channels` channels, for which `memory` has room.
    pub(super) fn new(
        call: &Call<'_>,
        spread: &'a Spread,
        units: usize,
        channels: usize,
        memory: &mut Vec<f32>,
    ) -> Result<Band<'a>> {
        let far = || call.refuse(format!("{channels} channels exceed the address space"));
        let extents = Extents::of(spread, units, channels).ok_or_else(far)?;
        // Before anything is made whose size grows with the image.
        room(memory, extents.size)?;
        Ok(Band::of(spread, extents))
    }

    fn of(spread: &'a Spread, extents: Extents) -> Band<'a> {
        let lines = &spread.lines;
        let &Extents { plane, channel, channels, .. } = &extents;
        let taps: usize = lines.iter().map(|l| l.axis.kernel).product();
        let offset = |tap: usize| {
            let (mut tap, mut at, mut step, mut phase, mut phases) = (tap, 0, 1, 0, 1);
            for (line, extent) in lines.iter().zip(&extents.axes).rev() {
                let place = tap % line.axis.kernel * line.axis.dilation;
                tap /= line.axis.kernel;
                at += place / line.axis.stride * step;
                step *= extent;
                phase += line.phases.binary_search(&(place % line.axis.stride)).unwrap_or(0) * phases;
                phases *= line.phases.len();
            }
            phase * plane + at
        };
        let first: Vec<usize> = (0..taps).map(offset).collect();
        let offsets = (0..channels).flat_map(|c| first.iter().map(move |o| c * channel + o)).collect();
        let (pieces, strips) = pieces(lines, &extents.axes);
        Band { spread, extents, offsets, pieces, strips }
    }

    /// Number of units.
    pub(super) fn units(&self) -> usize {
        self.extents.axes[0] - self.spread.lines[0].reach
    }

    /// Elements that it takes.
    pub(super) fn size(&self) -> usize {
        self.extents.size
    }

    /// Number of strips.
    pub(super) fn count(&self) -> usize {
        self.strips.len()
    }

    /// The windows of a strip.
    pub(super) fn pieces(&self, strip: usize) -> &[Piece] {
        &self.pieces[self.strips[strip].clone()]
    }

    /// The laid-out image as the right side of a product.
    pub(super) fn strips<'b, T>(&'b self, image: &'b [T]) -> Strips<'b, T> {
        let last = self.count().checked_sub(1).map_or(&[][..], |strip| self.pieces(strip));
        let last = last.iter().map(|piece| piece.lanes.end).max();
        Strips::new(image, &self.offsets).ending(last.unwrap_or(LANES))
    }
}

/// The windows of a band, cut at the ends of strips, and for each strip its pieces. Windows between the ends of rows are left
/// out.
fn pieces(lines: &[Line], extents: &[usize]) -> (Vec<Piece>, Vec<Range<usize>>) {
    let (mut pieces, mut strips) = (Vec::new(), Vec::new());
    let windows: Vec<usize> = lines.iter().zip(extents).map(|(l, extent)| extent - l.reach).collect();
    let (outer, width) = (&windows[..windows.len() - 1], windows[windows.len() - 1]);
    for row in 0..outer.iter().product() {
        let (mut at, mut step, mut rest) = (0, extents[outer.len()], row);
        for (i, n) in outer.iter().enumerate().rev() {
            at += rest % n * step;
            rest /= n;
            step *= extents[i];
        }
        let mut done = 0;
        while done < width {
            let (strip, lane) = ((at + done) / LANES, (at + done) % LANES);
            let n = (LANES - lane).min(width - done);
            // Rows come in order, and so do their strips; a strip may lie between two rows.
            strips.resize_with(strips.len().max(strip + 1), || pieces.len()..pieces.len());
            pieces.push(Piece { lanes: lane..lane + n, to: row * width + done });
            strips[strip].end = pieces.len();
            done += n;
        }
    }
    (pieces, strips)
}
