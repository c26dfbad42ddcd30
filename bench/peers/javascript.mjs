/** Matrix products of the JavaScript peers, each in its fastest form for f32 rows. */

/** `product(a, b, n, d)` is a^T b of two [n, d] arrays, as a flat [d, d]. */
export async function loadProduct(subject) {
  if (subject === 'ml-matrix') {
    const { Matrix } = await import('ml-matrix')
    const view = (data, n, d) => {
      // Rows as typed-array views: nothing is copied.
      const matrix = new Matrix(0, d)
      matrix.data = Array.from({ length: n }, (_, i) => data.subarray(i * d, (i + 1) * d))
      Object.defineProperty(matrix, 'rows', { value: n })
      return matrix
    }
    return (a, b, n, d) =>
      view(a, n, d)
        .transpose()
        .mmul(view(b, n, d))
        .to1DArray()
  }
  const tf = await import('@tensorflow/tfjs-core')
  await import(subject === 'tfjs-wasm' ? '@tensorflow/tfjs-backend-wasm' : '@tensorflow/tfjs-backend-cpu')
  await tf.setBackend(subject === 'tfjs-wasm' ? 'wasm' : 'cpu')
  await tf.ready()
  return (a, b, n, d) => {
    const out = tf.tidy(() =>
      tf.matMul(tf.tensor2d(a, [n, d]), tf.tensor2d(b, [n, d]), true, false).dataSync(),
    )
    return out
  }
}

/** Rows of `data` [.., width] in the order of `index`. */
export function gather(data, index, width) {
  const out = new Float32Array(index.length * width)
  for (let i = 0; i < index.length; i++) {
    out.set(data.subarray(index[i] * width, (index[i] + 1) * width), i * width)
  }
  return out
}
