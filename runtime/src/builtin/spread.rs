//! Images laid out for convolutions: each tap of neighbouring windows lies side by side.
//!
//! Along an axis with stride `s`, tap `t` of window `o` lies at `o * s + t * dilation - pad`. Elements whose places have the
//! same remainder modulo `s`, a phase, are laid side by side, the padding among them. So tap `t` of window `o` is element
//! `o + t * dilation / s` of phase `t * dilation % s`: for every tap the windows of a row lie one behind the other, and rows of
//! windows lie as far apart for all taps. Windows are counted along the laid-out rows, those between the rows' ends, which
//! are none, included. A band is a run of windows along the first axis, a unit each.

use super::call::Call;
use super::window::{Axis, MOST_AXES, room};
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
        Some(Extents { axes, plane, channel, size })
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
        Ok(Band::of(spread, channels, extents))
    }

    fn of(spread: &'a Spread, channels: usize, extents: Extents) -> Band<'a> {
        let lines = &spread.lines;
        let &Extents { plane, channel, .. } = &extents;
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
    pub(super) fn strips<'b>(&'b self, image: &'b [f32]) -> Strips<'b> {
        Strips::new(image, &self.offsets)
    }

    /// Lays out `channels`, of `area` elements each, from unit `first` on.
    pub(super) fn lay(&self, channels: &[f32], area: usize, first: usize, to: &mut [f32]) {
        for (from, to) in channels.chunks_exact(area.max(1)).zip(to.chunks_exact_mut(self.extents.channel.max(1))) {
            for (phase, plane) in to.chunks_exact_mut(self.extents.plane.max(1)).take(self.spread.phases()).enumerate()
            {
                self.fill(from, phase, first, plane);
            }
        }
    }

    /// Fills the plane of phase number `phase`.
    fn fill(&self, channel: &[f32], phase: usize, first: usize, plane: &mut [f32]) {
        let (lines, mut number) = (&self.spread.lines, phase);
        let mut phases = [0; MOST_AXES];
        for (line, phase) in lines.iter().zip(&mut phases).rev() {
            *phase = line.phases[number % line.phases.len()];
            number /= line.phases.len();
        }
        let (last, outer) = (&lines[lines.len() - 1], &lines[..lines.len() - 1]);
        let start = |axis: usize| if axis == 0 { first } else { 0 };
        let extent = self.extents.axes[outer.len()];
        let (inside, from) = last.inside(phases[outer.len()], start(outer.len()), extent);
        for (mut row, to) in plane.chunks_exact_mut(extent.max(1)).enumerate() {
            let (mut at, mut step) = (Some(0), last.axis.image);
            for (i, line) in outer.iter().enumerate().rev() {
                let place = line.place(row % self.extents.axes[i] + start(i), phases[i]);
                at = at.zip(place).map(|(at, place)| at + place * step);
                row /= self.extents.axes[i];
                step *= line.axis.image;
            }
            let Some(at) = at else {
                to.fill(0.0);
                continue;
            };
            to[..inside.start].fill(0.0);
            to[inside.end..].fill(0.0);
            let (to, seen) = (&mut to[inside.clone()], &channel[at + from..]);
            match last.axis.stride {
                1 => to.copy_from_slice(&seen[..to.len()]),
                2 => to.iter_mut().zip(seen.chunks(2)).for_each(|(y, x)| *y = x[0]),
                n => to.iter_mut().zip(seen.iter().step_by(n)).for_each(|(y, x)| *y = *x),
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::window::place;

    /// Every tap of every window, or the padding, lies where the offsets say.
    #[test]
    fn every_tap_of_every_window_is_where_its_offset_says() {
        let axis =
            |kernel, stride, dilation, pad, image, windows| Axis { kernel, stride, dilation, pad, image, windows };
        let all = [
            vec![axis(3, 1, 1, 1, 7, 7)],
            vec![axis(3, 2, 1, 1, 20, 10)],
            vec![axis(1, 1, 1, 0, 1, 1), axis(5, 3, 2, 4, 40, 13)],
            vec![axis(3, 1, 1, 1, 7, 7), axis(3, 1, 1, 1, 9, 9)],
            vec![axis(7, 2, 1, 3, 18, 9), axis(7, 2, 1, 2, 21, 10)],
            vec![axis(1, 2, 1, 0, 9, 5), axis(1, 2, 1, 0, 8, 4)],
            vec![axis(2, 3, 4, 5, 11, 6), axis(3, 1, 7, 6, 6, 4)],
            vec![axis(3, 1, 1, 1, 3, 3), axis(2, 2, 1, 0, 6, 3), axis(3, 1, 2, 2, 5, 5)],
        ];
        for axes in all {
            let area: usize = axes.iter().map(|a| a.image).product();
            let windows: usize = axes.iter().map(|a| a.windows).product();
            let taps: usize = axes.iter().map(|a| a.kernel).product();
            let channels: Vec<f32> = (0..3 * area).map(|i| i as f32 + 1.0).collect();
            let spread = Spread::new(&axes);
            for units in 1..=spread.units() {
                let band = Band::of(&spread, 3, Extents::of(&spread, units, 3).unwrap());
                for first in 0..=spread.units() - units {
                    let mut image = vec![f32::NAN; band.size()];
                    band.lay(&channels, area, first, &mut image);
                    let mut seen = 0;
                    for strip in 0..band.count() {
                        for piece in band.pieces(strip) {
                            for (i, lane) in piece.lanes.clone().enumerate() {
                                let window = first * (windows / spread.units()) + piece.to + i;
                                seen += 1;
                                for (k, offset) in band.offsets.iter().enumerate() {
                                    let at = place(&axes, window, k % taps);
                                    let wanted = at.map_or(0.0, |at| channels[k / taps * area + at]);
                                    assert_eq!(image[strip * LANES + lane + offset], wanted, "{axes:?} {window} {k}");
                                }
                            }
                        }
                    }
                    assert_eq!(seen, units * (windows / spread.units()));
                }
            }
        }
    }
}
