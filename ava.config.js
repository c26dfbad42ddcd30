/** All tests: `npm run test:all`, and single files. */
export default {
  files: ['test/**/*.test.js'],
  workerThreads: false,
  timeout: '5m',
}
