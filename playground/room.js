/** A small room, so that notes do not sound as if in a cupboard. */

const SECONDS = 1.1;
const WET = 0.16;
/** The right side hears the same later, as from another wall: to convolve both sides would take twice the processor. */
const RIGHT_SECONDS = 0.013;

/** @type {Map<number, AudioBuffer>} */
const impulses = new Map();

/**
 * Send what comes from a node through the room too.
 * @param {BaseAudioContext} context
 * @param {AudioNode} source
 * @param {AudioNode} destination
 */
export function createRoom(context, source, destination) {
  const room = new ConvolverNode(context, {
    buffer: impulse(context.sampleRate),
    channelCount: 1,
    channelCountMode: "explicit",
  });
  const wet = new GainNode(context, { gain: WET }), sides = new ChannelMergerNode(context, { numberOfInputs: 2 });
  source.connect(room).connect(wet).connect(sides, 0, 0);
  wet.connect(new DelayNode(context, { delayTime: RIGHT_SECONDS })).connect(sides, 0, 1);
  sides.connect(destination);
}

/** @param {number} rate @returns {AudioBuffer} what a clap would sound like: noise that dies away, the same each time */
function impulse(rate) {
  let buffer = impulses.get(rate);
  if (!buffer) {
    buffer = new AudioBuffer({ length: Math.round(SECONDS * rate), sampleRate: rate });
    const frames = buffer.getChannelData(0);
    let state = 1, smooth = 0;
    for (let index = 0; index < frames.length; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      // High tones are the first to go, as walls and curtains have it.
      smooth += (state / 2 ** 31 - smooth) * (0.5 - 0.4 * index / frames.length);
      frames[index] = smooth * Math.exp(-5 * index / frames.length) * Math.min(1, index / (0.012 * rate));
    }
    impulses.set(rate, buffer);
  }
  return buffer;
}
