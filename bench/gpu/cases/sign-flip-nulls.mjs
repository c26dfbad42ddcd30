/** 1,000 sign-flip nulls of 256 heads of d = 128 over 3,000 one-to-one terms, within 3 seconds. */

export default {
  title: 'sign-flip nulls',
  absent: 'backends cannot draw sign-flip nulls yet',
}
