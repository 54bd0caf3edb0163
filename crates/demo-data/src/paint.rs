//! Painting of a scene: the place first, then the things from far to near.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::canvas::{Canvas, Color, Paint, Point, Shape, darker, lighter};
use crate::kinds::{Hue, Kind};
use crate::places::paint_place;
use crate::scene::{Place, Scene, Thing};

/// Paints `scene` as `[size, size, 3]`; `random` decides details that no caption mentions.
pub(crate) fn paint(scene: &Scene, size: u32, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut canvas = Canvas::new(size);
    paint_place(&mut canvas, scene, random);
    let mut figures: Vec<(&Thing, Point)> = scene
        .things
        .iter()
        .flat_map(|thing| thing.feet.iter().map(move |&foot| (thing, foot)))
        .collect();
    figures.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
    for (thing, foot) in figures {
        let skin = [[255.0, 219.0, 180.0], [224.0, 172.0, 120.0], [141.0, 85.0, 46.0]];
        let skin = skin[random.random_range(0..skin.len())];
        let afloat = scene.place == Place::Lake;
        Figure { canvas: &mut canvas, thing, foot, skin, afloat }.paint();
    }
    canvas.into_rgb()
}

/// One thing at one position.
///
/// Its own coordinates have x to the side and y up from the middle of the foot, in heights of the
/// thing.
struct Figure<'c> {
    canvas: &'c mut Canvas,
    thing: &'c Thing,
    foot: Point,
    skin: Color,
    afloat: bool,
}

const DARK: Color = [40.0, 40.0, 46.0];
const GLASS: Color = [190.0, 222.0, 240.0];

impl Figure<'_> {
    fn paint(&mut self) {
        if !self.thing.kind.flies() && !self.afloat {
            self.shadow();
        }
        let color = self.thing.hue.rgb();
        match self.thing.kind {
            Kind::Ball => self.ball(color),
            Kind::House => self.house(color),
            Kind::Tree => self.tree(color),
            Kind::Car => self.car(color),
            Kind::Dog => self.dog(color),
            Kind::Cat => self.cat(color),
            Kind::Boy | Kind::Man => self.in_trousers(color),
            Kind::Girl | Kind::Woman => self.in_dress(color),
            Kind::Tent => self.tent(color),
            Kind::Boat => self.boat(color),
            Kind::Balloon => self.balloon(color),
            Kind::Kite => self.kite(color),
        }
    }

    fn at(&self, (x, y): Point) -> Point {
        let x = if self.thing.mirrored { -x } else { x };
        (self.foot.0 + x * self.thing.height, self.foot.1 - y * self.thing.height)
    }

    fn ellipse(&mut self, center: Point, half: Point, paint: impl Into<Paint>) {
        let height = self.thing.height;
        let shape = Shape::Ellipse(self.at(center), (half.0 * height, half.1 * height));
        self.canvas.fill(&shape, paint);
    }

    fn block(&mut self, center: Point, half: Point, radius: f32, paint: impl Into<Paint>) {
        let height = self.thing.height;
        let half = (half.0 * height, half.1 * height);
        self.canvas.fill(&Shape::Box(self.at(center), half, radius * height), paint);
    }

    fn line(&mut self, from: Point, to: Point, width: f32, paint: impl Into<Paint>) {
        let width = width * self.thing.height;
        self.canvas.fill(&Shape::Line(self.at(from), self.at(to), width), paint);
    }

    fn polygon(&mut self, corners: &[Point], paint: impl Into<Paint>) {
        let corners: Vec<Point> = corners.iter().map(|&corner| self.at(corner)).collect();
        self.canvas.fill(&Shape::Polygon(&corners), paint);
    }

    fn shadow(&mut self) {
        let half = self.thing.kind.half_width();
        self.ellipse((0.0, 0.0), (half, 0.09), Paint::from([0.0; 3]).sheer(0.22));
    }

    fn ball(&mut self, color: Color) {
        let shade = Paint::gradient(lighter(color, 0.12), darker(color, 0.28));
        self.ellipse((0.0, 0.5), (0.5, 0.5), shade);
        let stripe = if self.thing.hue == Hue::White { DARK } else { [255.0; 3] };
        self.ellipse((0.0, 0.5), (0.2, 0.5), Paint::from(stripe).sheer(0.16));
        self.ellipse((-0.18, 0.7), (0.13, 0.1), Paint::from([255.0; 3]).sheer(0.55));
    }

    fn house(&mut self, color: Color) {
        self.block((0.27, 0.9), (0.06, 0.16), 0.0, darker(color, 0.45));
        self.block((0.0, 0.3), (0.5, 0.3), 0.01, Paint::gradient(color, darker(color, 0.12)));
        let roof = Paint::gradient(darker(color, 0.35), darker(color, 0.55));
        self.polygon(&[(-0.6, 0.58), (0.0, 1.0), (0.6, 0.58)], roof);
        self.block((0.0, 0.17), (0.1, 0.17), 0.02, darker(color, 0.6));
        for x in [-0.3, 0.3] {
            self.block((x, 0.34), (0.12, 0.11), 0.01, [250.0; 3]);
            self.block((x, 0.34), (0.095, 0.085), 0.0, GLASS);
            self.line((x, 0.25), (x, 0.43), 0.02, [250.0; 3]);
            self.line((x - 0.1, 0.34), (x + 0.1, 0.34), 0.02, [250.0; 3]);
        }
    }

    fn tree(&mut self, color: Color) {
        let bark = [104.0, 68.0, 40.0];
        self.polygon(&[(-0.06, 0.0), (0.06, 0.0), (0.035, 0.5), (-0.035, 0.5)], bark);
        for (center, radius, shade) in [
            ((-0.17, 0.5), 0.2, 0.22),
            ((0.18, 0.52), 0.2, 0.22),
            ((0.0, 0.62), 0.25, 0.1),
            ((-0.1, 0.76), 0.19, 0.02),
            ((0.1, 0.8), 0.19, 0.0),
        ] {
            let color = darker(color, shade);
            let paint = Paint::gradient(lighter(color, 0.1), darker(color, 0.12));
            self.ellipse(center, (radius, radius), paint);
        }
    }

    fn car(&mut self, color: Color) {
        let body = Paint::gradient(lighter(color, 0.1), darker(color, 0.2));
        self.polygon(&[(-0.62, 0.6), (-0.4, 1.0), (0.3, 1.0), (0.62, 0.6)], lighter(color, 0.06));
        self.polygon(&[(-0.5, 0.62), (-0.34, 0.92), (-0.06, 0.92), (-0.06, 0.62)], GLASS);
        self.polygon(&[(0.02, 0.62), (0.02, 0.92), (0.26, 0.92), (0.48, 0.62)], GLASS);
        self.block((0.0, 0.42), (1.02, 0.22), 0.14, body);
        self.ellipse((0.96, 0.46), (0.06, 0.07), [255.0, 240.0, 170.0]);
        self.ellipse((-0.98, 0.46), (0.04, 0.07), [190.0, 30.0, 30.0]);
        for x in [-0.58, 0.58] {
            self.ellipse((x, 0.2), (0.22, 0.22), DARK);
            self.ellipse((x, 0.2), (0.1, 0.1), [200.0, 200.0, 205.0]);
        }
    }

    fn dog(&mut self, color: Color) {
        let shade = darker(color, 0.22);
        self.line((-0.46, 0.62), (-0.68, 0.86), 0.09, color);
        for x in [-0.32, 0.26] {
            self.line((x, 0.42), (x, 0.05), 0.13, shade);
        }
        for x in [-0.42, 0.36] {
            self.line((x, 0.42), (x, 0.05), 0.13, color);
        }
        self.block((-0.03, 0.52), (0.48, 0.18), 0.17, Paint::gradient(color, shade));
        self.line((0.36, 0.6), (0.5, 0.78), 0.24, color);
        self.ellipse((0.55, 0.82), (0.2, 0.17), color);
        self.block((0.72, 0.77), (0.14, 0.08), 0.07, lighter(color, 0.12));
        self.ellipse((0.84, 0.8), (0.045, 0.04), DARK);
        self.polygon(&[(0.36, 0.94), (0.5, 0.96), (0.44, 0.64), (0.33, 0.68)], darker(color, 0.45));
        self.ellipse((0.62, 0.87), (0.03, 0.03), if self.is_dark() { [250.0; 3] } else { DARK });
    }

    fn cat(&mut self, color: Color) {
        let shade = darker(color, 0.2);
        self.line((0.22, 0.08), (0.46, 0.16), 0.08, shade);
        self.line((0.46, 0.16), (0.48, 0.4), 0.08, shade);
        self.ellipse((0.0, 0.28), (0.27, 0.3), Paint::gradient(color, shade));
        for x in [-0.11, 0.11] {
            self.line((x, 0.3), (x, 0.05), 0.11, lighter(color, 0.08));
        }
        for side in [-1.0, 1.0] {
            self.polygon(&[(side * 0.24, 0.7), (side * 0.23, 1.0), (side * 0.05, 0.84)], color);
            self.polygon(
                &[(side * 0.2, 0.76), (side * 0.2, 0.92), (side * 0.1, 0.84)],
                [240.0, 160.0, 170.0],
            );
        }
        self.ellipse((0.0, 0.68), (0.26, 0.21), color);
        let eye = if self.is_dark() { [190.0, 220.0, 90.0] } else { [60.0, 120.0, 50.0] };
        for x in [-0.1, 0.1] {
            self.ellipse((x, 0.71), (0.045, 0.05), eye);
            self.ellipse((x, 0.71), (0.018, 0.045), DARK);
        }
        self.polygon(&[(-0.03, 0.64), (0.03, 0.64), (0.0, 0.6)], [230.0, 120.0, 140.0]);
    }

    fn is_dark(&self) -> bool {
        self.thing.hue.rgb().iter().sum::<f32>() < 220.0
    }

    fn head(&mut self, hair: Color, long: bool) {
        if long {
            self.block((0.0, 0.78), (0.125, 0.14), 0.09, hair);
        }
        self.line((0.0, 0.7), (0.0, 0.78), 0.07, darker(self.skin, 0.1));
        self.ellipse((0.0, 0.86), (0.1, 0.11), self.skin);
        let fringe =
            [(-0.11, 0.87), (-0.09, 0.97), (0.0, 1.0), (0.09, 0.97), (0.11, 0.87), (0.0, 0.93)];
        self.polygon(&fringe, hair);
        for x in [-0.035, 0.04] {
            self.ellipse((x, 0.86), (0.012, 0.015), DARK);
        }
    }

    fn arms(&mut self, sleeve: Color) {
        for side in [-1.0, 1.0] {
            self.line((side * 0.13, 0.66), (side * 0.2, 0.42), 0.07, self.skin);
            self.line((side * 0.12, 0.66), (side * 0.165, 0.54), 0.09, sleeve);
        }
    }

    fn in_trousers(&mut self, shirt: Color) {
        let trousers = [62.0, 68.0, 92.0];
        for x in [-0.065, 0.065] {
            self.line((x, 0.36), (x, 0.06), 0.1, trousers);
            self.line((x, 0.02), (x + 0.04, 0.02), 0.06, DARK);
        }
        self.arms(darker(shirt, 0.12));
        let paint = Paint::gradient(shirt, darker(shirt, 0.12));
        self.block((0.0, 0.54), (0.14, 0.19), 0.06, paint);
        self.head([70.0, 46.0, 30.0], false);
    }

    fn in_dress(&mut self, dress: Color) {
        for x in [-0.05, 0.05] {
            self.line((x, 0.3), (x, 0.05), 0.055, self.skin);
            self.line((x, 0.02), (x + 0.03, 0.02), 0.055, DARK);
        }
        self.arms(darker(dress, 0.12));
        let paint = Paint::gradient(dress, darker(dress, 0.15));
        self.polygon(
            &[(-0.1, 0.72), (0.1, 0.72), (0.1, 0.54), (0.24, 0.22), (-0.24, 0.22), (-0.1, 0.54)],
            paint,
        );
        self.head([96.0, 58.0, 28.0], true);
    }

    fn tent(&mut self, color: Color) {
        let front = Paint::gradient(lighter(color, 0.08), darker(color, 0.1));
        self.polygon(&[(0.0, 1.0), (0.45, 0.9), (0.84, 0.0), (0.3, 0.0)], darker(color, 0.32));
        self.polygon(&[(-0.75, 0.0), (0.0, 1.0), (0.6, 0.0)], front);
        self.polygon(&[(-0.22, 0.0), (-0.02, 0.72), (0.2, 0.0)], darker(color, 0.72));
        self.line((0.0, 1.0), (-0.02, 0.7), 0.03, darker(color, 0.5));
    }

    fn boat(&mut self, color: Color) {
        self.line((0.0, 0.2), (0.0, 1.0), 0.03, [110.0, 74.0, 44.0]);
        self.polygon(&[(0.04, 0.96), (0.42, 0.3), (0.04, 0.3)], [250.0, 248.0, 240.0]);
        self.polygon(&[(-0.04, 0.86), (-0.3, 0.3), (-0.04, 0.3)], [232.0, 230.0, 222.0]);
        let hull = Paint::gradient(lighter(color, 0.06), darker(color, 0.25));
        self.polygon(&[(-0.5, 0.22), (0.55, 0.22), (0.38, -0.02), (-0.36, -0.02)], hull);
        self.line((-0.5, 0.21), (0.55, 0.21), 0.03, darker(color, 0.4));
        self.line((-0.5, -0.03), (0.5, -0.03), 0.035, Paint::from([255.0; 3]).sheer(0.6));
    }

    fn balloon(&mut self, color: Color) {
        self.line((0.0, 0.42), (0.04, 0.2), 0.014, DARK);
        self.line((0.04, 0.2), (-0.02, 0.0), 0.014, DARK);
        let paint = Paint::gradient(lighter(color, 0.1), darker(color, 0.2));
        self.ellipse((0.0, 0.72), (0.24, 0.29), paint);
        self.polygon(&[(-0.04, 0.4), (0.04, 0.4), (0.0, 0.46)], darker(color, 0.25));
        self.ellipse((-0.09, 0.83), (0.05, 0.08), Paint::from([255.0; 3]).sheer(0.5));
    }

    fn kite(&mut self, color: Color) {
        for (from, to) in
            [((0.0, 0.3), (0.08, 0.2)), ((0.08, 0.2), (-0.02, 0.1)), ((-0.02, 0.1), (0.06, 0.0))]
        {
            self.line(from, to, 0.018, DARK);
            self.ellipse(to, (0.05, 0.025), darker(color, 0.15));
        }
        self.polygon(&[(0.0, 1.0), (0.32, 0.72), (0.0, 0.28), (-0.32, 0.72)], color);
        self.polygon(&[(0.0, 1.0), (0.32, 0.72), (0.0, 0.72)], lighter(color, 0.3));
        self.polygon(&[(0.0, 0.28), (-0.32, 0.72), (0.0, 0.72)], darker(color, 0.25));
        self.line((0.0, 1.0), (0.0, 0.28), 0.016, DARK);
        self.line((-0.32, 0.72), (0.32, 0.72), 0.016, DARK);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Returns a point where the thing has its plain colour, in its own coordinates.
    fn sample(kind: Kind) -> Point {
        match kind {
            Kind::Ball => (0.3, 0.4),
            Kind::House => (0.0, 0.48),
            Kind::Tree => (0.05, 0.8),
            Kind::Car => (0.0, 0.45),
            Kind::Dog => (0.0, 0.6),
            Kind::Cat => (0.0, 0.42),
            Kind::Boy | Kind::Man => (0.03, 0.56),
            Kind::Girl | Kind::Woman => (0.0, 0.5),
            Kind::Tent => (-0.36, 0.3),
            Kind::Boat => (-0.2, 0.14),
            Kind::Balloon => (0.08, 0.74),
            Kind::Kite => (-0.1, 0.78),
        }
    }

    #[test]
    fn the_named_colour_is_the_nearest_to_what_each_thing_shows() {
        const SIZE: u32 = 128;
        const HUES: [Hue; 11] = [
            Hue::Red,
            Hue::Orange,
            Hue::Yellow,
            Hue::Green,
            Hue::Blue,
            Hue::Purple,
            Hue::Pink,
            Hue::White,
            Hue::Grey,
            Hue::Black,
            Hue::Brown,
        ];
        for seed in 0..400 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let scene = Scene::random(&mut random);
            let pixels = paint(&scene, SIZE, &mut random);
            for thing in &scene.things {
                for &foot in &thing.feet {
                    let (x, y) = sample(thing.kind);
                    let x = if thing.mirrored { -x } else { x };
                    let at = |value: f32| (value * SIZE as f32) as usize;
                    let (x, y) = (at(foot.0 + x * thing.height), at(foot.1 - y * thing.height));
                    let pixel = &pixels[(y * SIZE as usize + x) * 3..][..3];
                    let away = |hue: &Hue| -> f32 {
                        let named = hue.rgb();
                        pixel.iter().zip(named).map(|(&a, b)| (f32::from(a) - b).powi(2)).sum()
                    };
                    let nearest = HUES.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
                    assert_eq!(nearest, Some(&thing.hue), "{pixel:?} in {scene:?}");
                }
            }
        }
    }
}
