// Ray tracing of spheres over a plane: shadows, reflections and a few samples per pixel. Tags: ray tracing.
#include "harness.h"
#include <math.h>

enum { WIDTH = PICK(32, 150, 360), HEIGHT = PICK(24, 110, 270), SPHERES = PICK(10, 16, 24), MAX_BOUNCES = 3 };

struct vec {
    double x, y, z;
};

struct ray {
    struct vec from, to; // `to` has length 1
};

struct sphere {
    struct vec centre;
    double radius, colour, mirror;
};

struct hit {
    double distance, colour, mirror;
    struct vec place, normal;
};

static struct sphere spheres[SPHERES];
static double image[HEIGHT][WIDTH];

static struct vec vec(double x, double y, double z) { return (struct vec){x, y, z}; }

static struct vec add(struct vec a, struct vec b) { return vec(a.x + b.x, a.y + b.y, a.z + b.z); }

static struct vec scale(struct vec a, double by) { return vec(a.x * by, a.y * by, a.z * by); }

static struct vec subtract(struct vec a, struct vec b) { return add(a, scale(b, -1)); }

static double dot(struct vec a, struct vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

static struct vec normalised(struct vec a) { return scale(a, 1 / sqrt(dot(a, a))); }

// The distance at which the ray enters the sphere, or a negative number.
static double distance_to(const struct sphere *sphere, const struct ray *ray) {
    struct vec towards = subtract(sphere->centre, ray->from);
    double along = dot(towards, ray->to);
    double inside = sphere->radius * sphere->radius - dot(towards, towards) + along * along;
    return inside < 0 ? -1 : along - sqrt(inside);
}

static int find_hit(const struct ray *ray, struct hit *hit) {
    const struct sphere *nearest = NULL;
    hit->distance = 1e30;
    for (int i = 0; i < SPHERES; i++) {
        double distance = distance_to(&spheres[i], ray);
        if (distance < 1e-6 || distance >= hit->distance) continue;
        hit->distance = distance;
        nearest = &spheres[i];
    }
    double to_plane = ray->to.y < 0 ? -ray->from.y / ray->to.y : -1;
    if (to_plane > 1e-6 && to_plane < hit->distance && to_plane < 1000) {
        hit->distance = to_plane;
        hit->place = add(ray->from, scale(ray->to, to_plane));
        hit->normal = vec(0, 1, 0);
        int odd = (fabs(hit->place.x) - 2 * (int)(fabs(hit->place.x) / 2) < 1) == (hit->place.z < 4);
        hit->colour = odd ? 0.9 : 0.3;
        hit->mirror = 0.1;
        return 1;
    }
    if (!nearest) return 0;
    hit->place = add(ray->from, scale(ray->to, hit->distance));
    hit->normal = scale(subtract(hit->place, nearest->centre), 1 / nearest->radius);
    hit->colour = nearest->colour;
    hit->mirror = nearest->mirror;
    return 1;
}

static int is_shadowed(struct vec place, struct vec light) {
    struct ray ray = {place, light};
    for (int i = 0; i < SPHERES; i++)
        if (distance_to(&spheres[i], &ray) > 1e-6) return 1;
    return 0;
}

static double trace(const struct ray *ray, struct vec light, int bounces) {
    struct hit hit;
    if (!find_hit(ray, &hit)) return 0.2 + 0.5 * fabs(ray->to.y);
    double facing = dot(hit.normal, light);
    double shade = facing > 0 && !is_shadowed(hit.place, light) ? 0.15 + 0.85 * facing : 0.15;
    double colour = hit.colour * shade;
    if (bounces == 0 || hit.mirror <= 0) return colour;
    struct ray mirrored = {hit.place, subtract(ray->to, scale(hit.normal, 2 * dot(ray->to, hit.normal)))};
    return (1 - hit.mirror) * colour + hit.mirror * trace(&mirrored, light, bounces - 1);
}

static void render(struct vec eye, struct vec light) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            double sum = 0;
            for (int sample = 0; sample < 2; sample++) {
                double across = (x + 0.25 + 0.5 * sample) / WIDTH - 0.5, up = 0.4 - (y + 0.5) / HEIGHT;
                struct ray ray = {eye, normalised(vec(across * 1.6, up * 1.2, 1))};
                sum += trace(&ray, light, MAX_BOUNCES);
            }
            image[y][x] = sum / 2;
        }
}

int main(int argc, char **argv) {
    (void)argv;
    seed_random(argc);
    for (int i = 0; i < SPHERES; i++) {
        double values[6];
        for (int j = 0; j < 6; j++) values[j] = random_f64();
        spheres[i].radius = 0.3 + 0.5 * values[0];
        spheres[i].centre = vec(8 * values[1] - 4, spheres[i].radius + values[2], 3 + 6 * values[3]);
        spheres[i].colour = values[4];
        spheres[i].mirror = values[5] < 0.4 ? 0 : values[5] / 2;
    }
    render(vec(0, 1.6, -2), normalised(vec(-0.6, 1, -0.5)));
    print_f64s("image", &image[0][0], (size_t)WIDTH * HEIGHT);
    return 0;
}
