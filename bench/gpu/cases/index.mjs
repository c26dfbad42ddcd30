import category from './category.mjs'
import fromHost from './from-host.mjs'
import residentPairs from './resident-pairs.mjs'
import signFlipNulls from './sign-flip-nulls.mjs'
import svd from './svd.mjs'

export const cases = {
  'resident-pairs': residentPairs,
  category,
  svd,
  'sign-flip-nulls': signFlipNulls,
  'from-host': fromHost,
}
