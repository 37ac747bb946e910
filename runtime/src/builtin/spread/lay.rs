//! Images, laid out in memory as a [band](Band) says: those of floats as they are, those of 8-bit integers as [pairs](Pair), of two
//! channels the differences from the zero point side by side.

use super::{Band, Extents, Spread};
use crate::builtin::call::Call;
use crate::builtin::window::{MOST_AXES, room};
use crate::device::cpu::pairs::Pair;
use actc_types::Result;
use bytemuck::Pod;
use std::ops::Range;

impl Band<'_> {
    /// Lays out `channels`, of `area` elements each, from unit `first` on.
    pub(in crate::builtin) fn lay(&self, channels: &[f32], area: usize, first: usize, to: &mut [f32]) {
        self.fill(first, to, |channel, at, stride, to| {
            let seen = &channels[channel * area + at..];
            match stride {
                1 => to.copy_from_slice(&seen[..to.len()]),
                2 => to.iter_mut().zip(seen.chunks(2)).for_each(|(y, x)| *y = x[0]),
                n => to.iter_mut().zip(seen.iter().step_by(n)).for_each(|(y, x)| *y = *x),
            }
        });
    }

    /// Lays out `channels` of integers, two by two, less their zero point; behind the last of an odd number are zeros.
    pub(in crate::builtin) fn lay_pairs<X: Copy + Into<i16>>(
        &self,
        channels: &[X],
        zero: i16,
        (area, first): (usize, usize),
        to: &mut [Pair],
    ) {
        let lowered = |x: &X| (*x).into() - zero;
        self.fill(first, to, |pair, at, stride, to| {
            let (even, odd) = channels[2 * pair * area..].split_at(area);
            let even = &even[at..];
            match (odd.get(at..), stride) {
                (None | Some([]), n) => {
                    to.iter_mut().zip(even.iter().step_by(n)).for_each(|(y, x)| *y = [lowered(x), 0]);
                }
                (Some(odd), 1) => {
                    to.iter_mut().zip(even.iter().zip(odd)).for_each(|(y, (a, b))| *y = [lowered(a), lowered(b)]);
                }
                (Some(odd), n) => {
                    let both = even.iter().step_by(n).zip(odd.iter().step_by(n));
                    to.iter_mut().zip(both).for_each(|(y, (a, b))| *y = [lowered(a), lowered(b)]);
                }
            }
        });
    }

    /// Fills all planes, zeros where the padding is: `write` gets the number of a channel, the place in it of the first element
    /// of a run, the distance of its elements, and where they go.
    fn fill<T: Pod>(&self, first: usize, to: &mut [T], mut write: impl FnMut(usize, usize, usize, &mut [T])) {
        let Extents { plane, channel, channels, .. } = self.extents;
        for (number, to) in to.chunks_exact_mut(channel.max(1)).take(channels).enumerate() {
            for (phase, plane) in to.chunks_exact_mut(plane.max(1)).take(self.spread.phases()).enumerate() {
                self.fill_plane(phase, first, plane, |at, stride, to| write(number, at, stride, to));
            }
        }
    }

    /// Fills the plane of phase number `phase`.
    fn fill_plane<T: Pod>(
        &self,
        phase: usize,
        first: usize,
        plane: &mut [T],
        mut write: impl FnMut(usize, usize, &mut [T]),
    ) {
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
            let (Some(at), false) = (at, inside.is_empty()) else {
                to.fill(T::zeroed());
                continue;
            };
            to[..inside.start].fill(T::zeroed());
            to[inside.end..].fill(T::zeroed());
            write(at + from, last.axis.stride, &mut to[inside.clone()]);
        }
    }
}

/// The band of an image that lies in memory.
pub(in crate::builtin) struct Laid<'a> {
    spread: &'a Spread,
    channels: usize,
    band: Option<Band<'a>>,
    /// Which image, and its first unit.
    place: Option<(usize, usize)>,
}

impl<'a> Laid<'a> {
    /// Nothing yet, of images with `channels` channels.
    pub(in crate::builtin) fn new(spread: &'a Spread, channels: usize) -> Laid<'a> {
        Laid { spread, channels, band: None, place: None }
    }

    /// The band of `units` units of image number `image`, and that image laid out in `memory`, by `lay` where it is not yet.
    pub(in crate::builtin) fn show<'m, T: Pod>(
        &'m mut self,
        call: &Call<'_>,
        image: usize,
        units: Range<usize>,
        memory: &'m mut Vec<f32>,
        lay: impl FnOnce(&Band<'a>, &mut [T]),
    ) -> Result<(&'m Band<'a>, &'m [T])> {
        let band = match self.band.take().filter(|band| band.units() == units.len()) {
            Some(band) => band,
            None => {
                self.place = None;
                Band::new(call, self.spread, units.len(), self.channels, memory)?
            }
        };
        let band = &*self.band.insert(band);
        // Elements of both kinds are four bytes.
        let to = bytemuck::cast_slice_mut(room(memory, band.size())?);
        if self.place != Some((image, units.start)) {
            lay(band, to);
            self.place = Some((image, units.start));
        }
        Ok((band, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::window::{Axis, place};
    use crate::device::cpu::product::LANES;

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
            // Numbers of elements modulo 251, around a zero point.
            let (codes, zero): (Vec<u8>, i16) = ((0..3 * area).map(|i| (i % 251) as u8).collect(), 7);
            let spread = Spread::new(&axes);
            for units in 1..=spread.units() {
                let band = Band::of(&spread, Extents::of(&spread, units, 3).unwrap());
                let pairs = Band::of(&spread, Extents::of(&spread, units, 2).unwrap());
                for first in 0..=spread.units() - units {
                    let mut image = vec![f32::NAN; band.size()];
                    band.lay(&channels, area, first, &mut image);
                    let mut both = vec![[i16::MAX; 2]; pairs.size()];
                    pairs.lay_pairs(&codes, zero, (area, first), &mut both);
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
                                    let (channel, tap) = (k / taps, k % taps);
                                    let lowered = |at| i16::from(codes[channel * area + at]) - zero;
                                    let offset = pairs.offsets[channel / 2 * taps + tap];
                                    let pair = both[strip * LANES + lane + offset];
                                    assert_eq!(pair[channel % 2], at.map_or(0, lowered), "{axes:?} {window} {k}");
                                    assert!(channel < 2 || pair[1] == 0, "{axes:?} {window} {k}");
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
