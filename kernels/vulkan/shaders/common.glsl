// What every shader sees: four views of a lane's buffers, the steps of all lanes, 24 words of parameters.
// Workgroups lie along x, in rows of y when there are many; z is the lane.
layout(local_size_x_id = 0) in;

struct Step {
    float lr;
    uint rows; // 0: this lane rests
    uint seed_lo, seed_hi;
    uint index;
    uint slot;
    uint pad0, pad1;
};
layout(std140, binding = 4) uniform Steps {
    Step of[256];
} steps;

layout(push_constant) uniform Push {
    uvec4 at, stride; // of each view: words to lane 0's first element, words from lane to lane
    uvec4 params[6];
} push;

#define LANE     gl_WorkGroupID.z
#define STEP     steps.of[LANE]
#define GROUP    (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x)
#define THREAD   gl_LocalInvocationIndex
#define THREADS  gl_WorkGroupSize.x
#define BASE(i)  (push.at[i] + LANE * push.stride[i])
#define PARAM(i) (push.params[(i) / 4][(i) % 4])
#define PARAM_F(i) uintBitsToFloat(PARAM(i))
#define RESTS    (STEP.rows == 0u)

// enum kern_act, and its derivative by the output.
float activate(uint act, float slope, float x) {
    if (act == 1u)
        return x <= 0.0 ? 0.0 : x; // NaN goes through
    if (act == 2u)
        return x > 0.0 ? x : slope * x;
    if (act == 3u)
        return 1.0 / (1.0 + exp(-x));
    if (act == 4u) {
        // tanh of large values overflows in some drivers
        float t = exp(-2.0 * abs(x));
        float big = (1.0 - t) / (1.0 + t);
        float x2 = x * x; // small ones lose digits in 1 - t
        float small = x * (1.0 + x2 * (-1.0 / 3.0 + x2 * (2.0 / 15.0 + x2 * (-17.0 / 315.0))));
        return abs(x) < 0.15 ? small : (x < 0.0 ? -big : big);
    }
    return x;
}
float activation_slope(uint act, float slope, float y) {
    if (act == 1u)
        return y > 0.0 ? 1.0 : 0.0;
    if (act == 2u)
        return y > 0.0 ? 1.0 : slope;
    if (act == 3u)
        return y * (1.0 - y);
    if (act == 4u)
        return 1.0 - y * y;
    return 1.0;
}

// enum kern_scale and kern_beta, packed by gpu_factors: scale | beta << 4.
float scale_of(uint factors) {
    return (factors & 15u) == 1u ? -STEP.lr : 1.0;
}
float beta_of(uint factors, float decay) {
    uint beta = factors >> 4;
    return beta == 0u ? 0.0 : beta == 1u ? 1.0 : 1.0 - STEP.lr * decay;
}
