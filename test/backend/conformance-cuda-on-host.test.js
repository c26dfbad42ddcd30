import test from 'ava'
import { covarianceSuite } from '../helpers/arithmetic-covariance-suite.js'
import { inputSuite } from '../helpers/arithmetic-input-suite.js'
import { nullSuite } from '../helpers/arithmetic-null-suite.js'
import { svdSuite } from '../helpers/arithmetic-svd-suite.js'

process.env.QKSPACE_CUDA_LIBRARY = new URL(
  '../../build/cuda-on-host/qkspace_cuda.so',
  import.meta.url,
).pathname
covarianceSuite(test, 'cuda')
inputSuite(test, 'cuda')
svdSuite(test, 'cuda')
nullSuite(test, 'cuda')
